// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace wrapd::client {

using Clock = std::chrono::steady_clock;

// Milliseconds until `deadline`, rounded up, for poll(2); 0 once it has passed.
[[nodiscard]] inline int remaining(Clock::time_point deadline) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}

}  // namespace wrapd::client
