// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace wrapd {

// At most `burst` at once and `rate` a second in the long run. Not thread-safe.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;
  TokenBucket(double rate, double burst) : rate_(rate), burst_(burst), tokens_(burst) {}

  [[nodiscard]] bool take(Clock::time_point now, double tokens = 1) {
    fill(now);
    if (tokens_ < tokens) return false;
    tokens_ -= tokens;
    return true;
  }
  [[nodiscard]] bool holds(Clock::time_point now, double tokens) {
    fill(now);
    return tokens_ >= tokens;
  }
  // When the next take() will succeed.
  [[nodiscard]] Clock::time_point next(Clock::time_point now) {
    fill(now);
    if (tokens_ >= 1) return now;
    return now + std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>((1 - tokens_) / rate_));
  }

 private:
  void fill(Clock::time_point now) {
    if (now > last_) tokens_ = std::min(burst_, tokens_ + std::chrono::duration<double>(now - last_).count() * rate_);
    last_ = std::max(last_, now);
  }
  double rate_;
  double burst_;
  double tokens_;
  Clock::time_point last_{};
};

}  // namespace wrapd
