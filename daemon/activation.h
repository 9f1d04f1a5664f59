// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon {

inline constexpr std::string_view kControlName = "wrapd-control";

// The control socket that the service manager listens on for us (sd_listen_fds_with_names(3)), checked to be a
// listening AF_UNIX SOCK_SEQPACKET socket and made non-blocking. Everything else that was passed is closed.
[[nodiscard]] Result<UniqueFd> take_control_socket();

// Makes 0, 1 and 2 open and everything above close-on-exec, whoever started us.
[[nodiscard]] Result<> tidy_descriptors();

}  // namespace wrapd::daemon
