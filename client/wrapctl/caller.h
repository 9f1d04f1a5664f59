// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "policy/model.h"

namespace wrapd::wrapctl {

// What ${...} would stand for if `user` (default: the calling user) ran a command in the current directory: as the
// service finds it, from the passwd database and never from the environment.
[[nodiscard]] Result<policy::Variables> variables_of(const std::optional<std::string>& user);

// True if this process runs with no_new_privs and under a seccomp filter, as everything inside of a wrapped session
// does (proc(5), /proc/PID/status).
[[nodiscard]] bool is_confined();

}  // namespace wrapd::wrapctl
