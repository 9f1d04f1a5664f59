// SPDX-License-Identifier: Apache-2.0
#pragma once

// How often each user may call: a token bucket per uid. A bucket that has filled up again is forgotten, so that memory
// goes with the users who are calling now, and with at most kMaxUsers of them.

#include <sys/types.h>

#include <chrono>
#include <unordered_map>

#include "base/token_bucket.h"

namespace wrapd::daemon::bus {

struct Rate {
  double per_second = 200;
  double burst = 400;
};

class Rates {
 public:
  using Clock = TokenBucket::Clock;
  static constexpr size_t kMaxUsers = 4096;

  explicit Rates(Rate rate) : rate_(rate) {}

  // False: too often, and nothing was taken.
  [[nodiscard]] bool take(uid_t uid, double cost, Clock::time_point now) {
    auto it = buckets_.find(uid);
    if (it == buckets_.end()) {
      if (buckets_.size() >= kMaxUsers && forget_full(now) == 0) return false;
      it = buckets_.try_emplace(uid, rate_.per_second, rate_.burst).first;
    }
    return it->second.take(now, cost);
  }
  // How much of a whole burst this user could call for now: 0 to 1.
  [[nodiscard]] double fullness(uid_t uid, Clock::time_point now) const {
    auto it = buckets_.find(uid);
    return it == buckets_.end() ? 1 : it->second.level(now) / rate_.burst;
  }
  [[nodiscard]] size_t users() const noexcept { return buckets_.size(); }

 private:
  // At most once a second: with that many users who all call, looking at each of them every time would be the flood.
  size_t forget_full(Clock::time_point now) {
    if (now - last_forgotten_ < std::chrono::seconds(1)) return 0;
    last_forgotten_ = now;
    return std::erase_if(buckets_, [&](const auto& entry) { return entry.second.level(now) >= rate_.burst; });
  }

  Rate rate_;
  std::unordered_map<uid_t, TokenBucket> buckets_;
  Clock::time_point last_forgotten_;
};

}  // namespace wrapd::daemon::bus
