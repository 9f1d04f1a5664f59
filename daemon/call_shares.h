// SPDX-License-Identifier: Apache-2.0
#pragma once

// How many calls of a session may wait at once. Each has a thread of its supervisor, and maybe one more that acts for
// it; all supervisors are in the unit's control group and share its TasksMax=. Without a share for each, one user's
// sessions would leave no thread for anybody else's.
//
// A session keeps what it was given. So each gets a part of what is left to its user and to all, and a few also where
// nothing is left: the number of sessions is bounded (limits.sessions).

#include <cstddef>
#include <cstdint>

#include "daemon/quota.h"

namespace wrapd::daemon {

struct CallShares {
  static constexpr size_t kMost = 1024;
  static constexpr size_t kFew = 32;
  // Beyond these everybody gets a few.
  static constexpr size_t kPerUser = 4096;
  static constexpr size_t kInAll = 16384;  // of all but root

  // Of a session of `user` that is about to be opened, where the others were `given` so many.
  [[nodiscard]] static size_t next(const Quota& given, uint64_t user);
  // Threads that the supervisors of `sessions` sessions can have at the most. The unit's TasksMax= is more.
  [[nodiscard]] static constexpr size_t most_threads(size_t sessions) {
    constexpr size_t kEachCall = 2;      // one waits in the loop, another acts with other ids
    constexpr size_t kEachSession = 32;  // the monitor, those that work and theirs, and those that idle
    return kEachCall * (kInAll + kPerUser + kFew * sessions) + kEachSession * sessions;
  }
};

}  // namespace wrapd::daemon
