// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the service manager is told about us (sd_notify(3)). Nothing, if there is none.

#include <string>

namespace wrapd::daemon {

void notify_ready(const std::string& status);
void notify_status(const std::string& status);
void notify_reloading(const std::string& status);
void notify_stopping(const std::string& status);

}  // namespace wrapd::daemon
