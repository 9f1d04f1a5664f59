// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <vector>

namespace wrapd::client {

// All descendants of `ancestor` that /proc shows (and the children of this process that it hides), without those that
// have exited.
[[nodiscard]] std::vector<pid_t> descendants_of(pid_t ancestor);

// Ends everything below this process: stops all descendants until a pass finds no new one, then kills them, and again
// until a pass finds none. This process must be a child subreaper (prctl(2)), so that what is orphaned on the way stays
// below it; what ends is reaped. Returns how many were left when `timeout` was over (at least 1
// if they cannot be counted); 0 is success.
[[nodiscard]] size_t kill_descendants(std::chrono::milliseconds timeout);

}  // namespace wrapd::client
