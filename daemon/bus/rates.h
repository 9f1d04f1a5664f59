// SPDX-License-Identifier: Apache-2.0
#pragma once

// How often each user may call: a token bucket per uid. A bucket that has filled up again is forgotten, so that memory
// goes with the users who are calling now, and with at most kMaxUsers of them.

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>

namespace wrapd::daemon::bus {

struct Rate {
  double per_second = 200;
  double burst = 400;
};

class Rates {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kMaxUsers = 4096;

  explicit Rates(Rate rate) : rate_(rate) {}

  // False: too often, and nothing was taken. What costs more than a whole burst takes a whole burst.
  [[nodiscard]] bool take(uid_t uid, double cost, Clock::time_point now) {
    auto it = buckets_.find(uid);
    if (it == buckets_.end()) {
      if (buckets_.size() >= kMaxUsers && forget_full(now) == 0) return false;
      it = buckets_.emplace(uid, Bucket{.tokens = rate_.burst, .filled = now}).first;
    }
    Bucket& bucket = it->second;
    bucket.tokens = level(bucket, now);
    bucket.filled = now;
    cost = std::min(cost, rate_.burst);
    if (bucket.tokens < cost) return false;
    bucket.tokens -= cost;
    return true;
  }
  // How much of a whole burst this user could call for now: 0 to 1.
  [[nodiscard]] double fullness(uid_t uid, Clock::time_point now) const {
    auto it = buckets_.find(uid);
    return it == buckets_.end() ? 1 : level(it->second, now) / rate_.burst;
  }
  [[nodiscard]] size_t users() const noexcept { return buckets_.size(); }

 private:
  struct Bucket {
    double tokens = 0;
    Clock::time_point filled;
  };
  [[nodiscard]] double level(const Bucket& bucket, Clock::time_point now) const {
    return std::min(rate_.burst,
                    bucket.tokens + rate_.per_second * std::chrono::duration<double>(now - bucket.filled).count());
  }
  // At most once a second: with that many users who all call, looking at each of them every time would be the flood.
  size_t forget_full(Clock::time_point now) {
    if (now - last_forgotten_ < std::chrono::seconds(1)) return 0;
    last_forgotten_ = now;
    return std::erase_if(buckets_, [&](const auto& entry) { return level(entry.second, now) >= rate_.burst; });
  }

  Rate rate_;
  std::unordered_map<uid_t, Bucket> buckets_;
  Clock::time_point last_forgotten_;
};

}  // namespace wrapd::daemon::bus
