// SPDX-License-Identifier: Apache-2.0
#include "audit/allowance.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace wrapd::audit {
namespace {

constexpr uint64_t kNanoseconds = 1000000000;

uint64_t nanoseconds(std::chrono::steady_clock::time_point time) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

}  // namespace

Result<Allowance> Allowance::open(int directory_fd, const char* name) {
  constexpr off_t kSize = sizeof(Slot) * kSlots;
  UniqueFd fd(::openat(directory_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("cannot open the records' allowance");
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot stat the records' allowance");
  if (!S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 077) != 0) {
    return fail("the file of the records' allowance is not ours alone");
  }
  if (st.st_size == 0 && ::ftruncate(fd.get(), kSize) < 0) return fail_errno("cannot size the records' allowance");
  auto mapped = map(fd.get());
  if (mapped) mapped->fd_ = std::move(fd);
  return mapped;
}

Result<Allowance> Allowance::map(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) < 0) return fail_errno("cannot stat the records' allowance");
  if (st.st_size != static_cast<off_t>(sizeof(Slot) * kSlots)) return fail("the records' allowance has a wrong size");
  void* memory = ::mmap(nullptr, sizeof(Slot) * kSlots, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map the records' allowance");
  return Allowance(UniqueFd(), static_cast<Slot*>(memory));
}

Allowance::Allowance(Allowance&& other) noexcept
    : fd_(std::move(other.fd_)), slots_(std::exchange(other.slots_, nullptr)) {}

Allowance& Allowance::operator=(Allowance&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(slots_, other.slots_);
  return *this;
}

Allowance::~Allowance() {
  if (slots_ != nullptr) ::munmap(slots_, sizeof(Slot) * kSlots);
}

bool Allowance::take_from(size_t slot, uint64_t rate, uint64_t most, uint64_t bytes, uint64_t now) {
  std::atomic<uint64_t>& used_until = slots_[slot].used_until;
  const uint64_t each = kNanoseconds / rate;
  uint64_t before = used_until.load(std::memory_order_relaxed);
  uint64_t after = 0;
  do {
    after = std::max(before, now) + bytes * each;
    if (after - now > most * each) return false;
  } while (!used_until.compare_exchange_weak(before, after, std::memory_order_relaxed));
  return true;
}

bool Allowance::take(size_t slot, bool shared, uint64_t bytes, Use use, std::chrono::steady_clock::time_point now) {
  const bool must = use == Use::must;
  const uint64_t at = nanoseconds(now);
  if (!take_from(slot, kUserRate, kUserBurst + (must ? kUserReserve : 0), bytes, at)) return false;
  if (!shared || take_from(kEverybody, kAllRate, kAllBurst + (must ? kAllReserve : 0), bytes, at)) return true;
  slots_[slot].used_until.fetch_sub(bytes * (kNanoseconds / kUserRate), std::memory_order_relaxed);
  return false;
}

std::optional<uid_t> Allowance::owner(size_t slot) const {
  const uint64_t owner = slots_[slot].owner.load(std::memory_order_relaxed);
  if (owner == 0) return std::nullopt;
  return static_cast<uid_t>(owner - 1);
}

void Allowance::give(size_t slot, uid_t uid) {
  slots_[slot].owner.store(uint64_t{uid} + 1, std::memory_order_relaxed);
}

bool Allowance::full(size_t slot, std::chrono::steady_clock::time_point now) const {
  return slots_[slot].used_until.load(std::memory_order_relaxed) <= nanoseconds(now);
}

void Allowance::add_unrecorded(size_t slot, uint64_t events) {
  slots_[slot].unrecorded.fetch_add(events, std::memory_order_relaxed);
}

uint64_t Allowance::take_unrecorded(size_t slot) {
  return slots_[slot].unrecorded.exchange(0, std::memory_order_relaxed);
}

}  // namespace wrapd::audit
