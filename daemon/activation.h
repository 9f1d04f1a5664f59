// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon {

inline constexpr std::string_view kControlName = "wrapd-control";

struct PassedFd {
  std::string name;
  UniqueFd fd;
};

// What the service manager passed (sd_listen_fds_with_names(3)): the control socket that it listens on for us, checked
// to be a listening AF_UNIX SOCK_SEQPACKET socket and made non-blocking, and everything else, unchecked: what it stored
// for us.
struct Passed {
  UniqueFd control;
  std::vector<PassedFd> others;
};
[[nodiscard]] Result<Passed> take_passed_descriptors();

// Makes 0, 1 and 2 open and everything above close-on-exec, however we were started.
[[nodiscard]] Result<> tidy_descriptors();

}  // namespace wrapd::daemon
