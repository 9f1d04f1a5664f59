// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace wrapd {

// At most `burst` at once and `rate` a second in the long run, in whatever a thing costs. Full at first. Not
// thread-safe.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;
  TokenBucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}

  // False: there is not so much, and nothing was taken. What costs more than a whole burst takes a whole burst.
  [[nodiscard]] bool take(Clock::time_point now, double cost = 1) {
    tokens_ = level(now);
    last_ = std::max(last_, now);
    cost = std::min(cost, burst_);
    if (tokens_ < cost) return false;
    tokens_ -= cost;
    return true;
  }
  // How much there is.
  [[nodiscard]] double level(Clock::time_point now) const {
    if (now <= last_) return tokens_;
    return std::min(burst_, tokens_ + std::chrono::duration<double>(now - last_).count() * rate_);
  }
  // When the next take() will succeed.
  [[nodiscard]] Clock::time_point next(Clock::time_point now) const {
    const double missing = 1 - level(now);
    if (missing <= 0) return now;
    return now + std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(missing / rate_));
  }

 private:
  double rate_;
  double burst_;
  double tokens_;
  Clock::time_point last_{};
};

}  // namespace wrapd
