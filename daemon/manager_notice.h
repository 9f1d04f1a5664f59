// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the service manager is told about us (sd_notify(3)). Nothing, if there is none.

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace wrapd::daemon {

// One message with descriptors, as sd_pid_notify_with_fds(3) sends it, but never waiting for a manager that is busy
// with something else: then EAGAIN.
[[nodiscard]] Result<> tell_manager(std::string_view message, std::span<const int> fds);

// These must arrive, and wait. What fails is told on stderr.
void notify_ready(const std::string& status);
void notify_reloading(const std::string& status);
void notify_stopping(const std::string& status);

}  // namespace wrapd::daemon
