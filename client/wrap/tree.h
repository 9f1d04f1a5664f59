// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>

#include "kernel/bystanders.h"

namespace wrapd::client {

// The processes beneath this one before the session starts. `filtered`: those of the session will have one seccomp
// filter more than this process.
[[nodiscard]] kernel::Bystanders bystanders_here(bool filtered);

// Ends everything below this process but `bystanders`: stops all descendants until a pass finds no new one, then kills
// them, and again until a pass finds none. This process must be a child subreaper (prctl(2)), so that what is orphaned
// on the way stays below it; what ends is reaped. Returns how many were left when `timeout` was over (at least 1 if
// they cannot be counted); 0 is success.
[[nodiscard]] size_t kill_descendants(std::chrono::milliseconds timeout, const kernel::Bystanders& bystanders = {});

}  // namespace wrapd::client
