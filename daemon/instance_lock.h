// SPDX-License-Identifier: Apache-2.0
#pragma once

// One service at a time: two would both listen, and both believe to own the sessions' directory and the descriptor
// store. The lock is fcntl(2)'s: it goes with the process, whatever becomes of the file, and no child inherits it.

#include <chrono>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon {

// Locks `lock` in `directory` (root's own). Waits that long for one that is just ending; EBUSY if another serves. The
// lock is held until the descriptor, or any other of this process for the same file, is closed.
[[nodiscard]] Result<UniqueFd> lock_instance(int directory, std::chrono::milliseconds patience);

}  // namespace wrapd::daemon
