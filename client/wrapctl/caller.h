// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "policy/model.h"

namespace wrapd::wrapctl {

// What ${...} would stand for if `user` (default: whoever calls) ran a command in the current directory: as the service
// finds it, from the passwd database and never from the environment.
[[nodiscard]] Result<policy::Variables> variables_of(const std::optional<std::string>& user);

}  // namespace wrapd::wrapctl
