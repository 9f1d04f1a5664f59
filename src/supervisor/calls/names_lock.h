// SPDX-License-Identifier: Apache-2.0
#pragma once

// Names of sockets are judged and then made or moved, and no other call of the session may come between. A look at
// names can take as long as a file system likes, and holds up nobody: what was looked at counts if nothing was made or
// moved since the look began. Else it is looked at again, in the end with everybody else waiting.

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

namespace wrapd::supervisor {

class NamesLock {
 public:
  class Turn {
   public:
    // To be called after the look, before the act. False: the look was in vain. True: until the end of the turn nobody
    // else acts.
    [[nodiscard]] bool take() {
      if (!held_.owns_lock()) held_.lock();
      taken_ = owner_.acts_.load() == seen_;
      if (!taken_) held_.unlock();
      return taken_;
    }

   private:
    friend class NamesLock;
    Turn(NamesLock& owner, bool alone) : owner_(owner), held_(owner.lock_, std::defer_lock) {
      if (alone) held_.lock();
      seen_ = owner.acts_.load();
    }
    ~Turn() {
      if (taken_) ++owner_.acts_;
    }
    NamesLock& owner_;
    std::unique_lock<std::mutex> held_;
    uint64_t seen_ = 0;
    bool taken_ = false;
  };

  // `attempt` gets a turn; nothing if the look was in vain.
  template <class Attempt>
  auto in_turn(Attempt attempt) {
    for (int i = 0;; ++i) {
      Turn turn(*this, i >= kFreeLooks);
      if (auto outcome = attempt(turn)) return std::move(*outcome);
    }
  }

 private:
  static constexpr int kFreeLooks = 3;
  std::mutex lock_;
  std::atomic<uint64_t> acts_{0};  // that have come to their end
};

}  // namespace wrapd::supervisor
