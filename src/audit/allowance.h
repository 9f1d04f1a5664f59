// SPDX-License-Identifier: Apache-2.0
#pragma once

// How much the sessions of a user, and those of all users together, may still write to the journal: a file of root's
// that the service makes and all supervisors map. It lies in memory (/run) and outlives the service, so that nobody
// gains by a restart. Each user has a slot, which says how far the allowance is used up, and how many events did not
// fit and are in no record yet.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::audit {

class Allowance {
 public:
  static constexpr size_t kSlots = 2048;
  static constexpr size_t kEverybody = 0;  // the slot of all users but root
  // Bytes. Refilled by so much a second.
  static constexpr uint64_t kUserRate = 512;
  static constexpr uint64_t kUserBurst = 4U << 20;
  static constexpr uint64_t kAllRate = 2048;
  static constexpr uint64_t kAllBurst = 32U << 20;
  // Besides, for what must be recorded whatever else was: sessions, losses, the first refusals of each kind.
  static constexpr uint64_t kUserReserve = 16U << 20;
  static constexpr uint64_t kAllReserve = 32U << 20;
  // Of it, who has no more than this in use gets it also where others have used up what is for all.
  static constexpr uint64_t kFew = 256U << 10;

  enum class Use : uint8_t { ordinary, must };

  // The file `name` in this directory, made if it is not there. One of another format, an other version's, is replaced
  // by a new one; a process that has it mapped goes on with it. Only root may be able to write to the directory.
  [[nodiscard]] static Result<Allowance> open(int directory_fd, const char* name);
  [[nodiscard]] static Result<Allowance> map(int fd);
  Allowance(Allowance&& other) noexcept;
  Allowance& operator=(Allowance&& other) noexcept;
  ~Allowance();
  [[nodiscard]] int fd() const { return fd_.get(); }  // of the one that opened it

  // For the service alone. A user is what the service counts as one (daemon/quota.h): a uid, or a number beyond these.
  [[nodiscard]] std::optional<uint64_t> owner(size_t slot) const;
  void give(size_t slot, uint64_t user);

  // Takes `bytes` for the user of this slot (and, if `shared`, out of what all have); false: there is not so much left.
  [[nodiscard]] bool take(size_t slot, bool shared, uint64_t bytes, Use use, std::chrono::steady_clock::time_point now);
  // Nothing of it is used.
  [[nodiscard]] bool full(size_t slot, std::chrono::steady_clock::time_point now) const;
  void add_unrecorded(size_t slot, uint64_t events);
  // The caller records them.
  [[nodiscard]] uint64_t take_unrecorded(size_t slot);

 private:
  struct Slot {
    std::atomic<uint64_t> used_until;  // nanoseconds of CLOCK_MONOTONIC: when it will be full again
    std::atomic<uint64_t> unrecorded;
    std::atomic<uint64_t> owner;  // the user + 1; 0: nobody yet
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  struct Header {
    static constexpr uint64_t kMagic = 0x7372'6463'6572'7277;
    static constexpr uint64_t kVersion = 1;  // another one wherever Slot, kSlots or what they mean change
    uint64_t magic = kMagic;
    uint64_t version = kVersion;
  };
  static constexpr size_t kSize = sizeof(Header) + sizeof(Slot) * kSlots;
  Allowance(UniqueFd fd, void* memory)
      : fd_(std::move(fd)), slots_(reinterpret_cast<Slot*>(static_cast<std::byte*>(memory) + sizeof(Header))) {}
  [[nodiscard]] static Result<UniqueFd> find(int directory_fd, const char* name);
  [[nodiscard]] static Result<UniqueFd> make(int directory_fd, const char* name);
  [[nodiscard]] static Result<> check(int fd);
  [[nodiscard]] bool take_from(size_t slot, uint64_t rate, uint64_t most, uint64_t bytes, uint64_t now);

  UniqueFd fd_;
  Slot* slots_ = nullptr;
};

}  // namespace wrapd::audit
