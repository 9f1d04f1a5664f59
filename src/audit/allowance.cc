// SPDX-License-Identifier: Apache-2.0
#include "audit/allowance.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>

namespace wrapd::audit {
namespace {

constexpr uint64_t kNanoseconds = 1000000000;

uint64_t nanoseconds(std::chrono::steady_clock::time_point time) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

}  // namespace

Result<Allowance> Allowance::open(int directory_fd, const char* name) {
  auto fd = find(directory_fd, name);
  if (!fd) return std::unexpected(fd.error());
  if (auto good = *fd ? check(fd->get()) : Result<>(); !good) {
    std::fprintf(stderr, "wrapd: %s; begins a new one\n", good.error().message.c_str());
    fd->reset();
  }
  if (!*fd) fd = make(directory_fd, name);
  if (!fd) return std::unexpected(fd.error());
  auto mapped = map(fd->get());
  if (mapped) mapped->fd_ = std::move(*fd);
  return mapped;
}

// None if there is no such file.
Result<UniqueFd> Allowance::find(int directory_fd, const char* name) {
  UniqueFd fd(::openat(directory_fd, name, O_RDWR | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) return fd;
  if (!fd) return fail_errno("cannot open the records' allowance");
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot stat the records' allowance");
  if (!S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 077) != 0) {
    return fail("the file of the records' allowance is not ours alone");
  }
  return fd;
}

// It gets its name when it is complete. All of it has its place: in a hole, with a full file system, the first write
// would be the end (SIGBUS) of the service or of a supervisor.
Result<UniqueFd> Allowance::make(int directory_fd, const char* name) {
  const std::string draft = std::string(name) + ".new";
  if (::unlinkat(directory_fd, draft.c_str(), 0) < 0 && errno != ENOENT) {
    return fail_errno("cannot remove an unfinished file of the records' allowance");
  }
  UniqueFd fd(::openat(directory_fd, draft.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOCTTY | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("cannot make the records' allowance");
  auto finish = [&]() -> Result<> {
    if (const int error = ::posix_fallocate(fd.get(), 0, kSize); error != 0) {
      return fail_errno("cannot make room for the records' allowance", error);
    }
    const Header header;
    if (::pwrite(fd.get(), &header, sizeof(header), 0) != static_cast<ssize_t>(sizeof(header))) {
      return fail_errno("cannot write the records' allowance");
    }
    if (::renameat(directory_fd, draft.c_str(), directory_fd, name) < 0) {
      return fail_errno("cannot name the records' allowance");
    }
    return {};
  };
  if (auto finished = finish(); !finished) {
    static_cast<void>(::unlinkat(directory_fd, draft.c_str(), 0));  // the next one does it, too
    return std::unexpected(finished.error());
  }
  return fd;
}

Result<> Allowance::check(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) < 0) return fail_errno("cannot stat the records' allowance");
  Header header{.magic = 0, .version = 0};
  const bool read = ::pread(fd, &header, sizeof(header), 0) == static_cast<ssize_t>(sizeof(header));
  if (st.st_size == static_cast<off_t>(kSize) && read && header.magic == Header::kMagic &&
      header.version == Header::kVersion) {
    return {};
  }
  return fail("the file of the records' allowance has another format");
}

Result<Allowance> Allowance::map(int fd) {
  if (auto good = check(fd); !good) return std::unexpected(good.error());
  void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map the records' allowance");
  return Allowance(UniqueFd(), memory);
}

Allowance::Allowance(Allowance&& other) noexcept
    : fd_(std::move(other.fd_)), slots_(std::exchange(other.slots_, nullptr)) {}

Allowance& Allowance::operator=(Allowance&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(slots_, other.slots_);
  return *this;
}

Allowance::~Allowance() {
  if (slots_ != nullptr) ::munmap(reinterpret_cast<std::byte*>(slots_) - sizeof(Header), kSize);
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
  if (must && slots_[slot].used_until.load(std::memory_order_relaxed) - at <= kFew * (kNanoseconds / kUserRate)) {
    return true;
  }
  slots_[slot].used_until.fetch_sub(bytes * (kNanoseconds / kUserRate), std::memory_order_relaxed);
  return false;
}

std::optional<uint64_t> Allowance::owner(size_t slot) const {
  const uint64_t owner = slots_[slot].owner.load(std::memory_order_relaxed);
  if (owner == 0) return std::nullopt;
  return owner - 1;
}

void Allowance::give(size_t slot, uint64_t user) {
  slots_[slot].owner.store(user + 1, std::memory_order_relaxed);
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
