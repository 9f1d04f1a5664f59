// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace wrapd::policyfile {

// The only document in `text`. Errors are "FILE:LINE:COL: what".
[[nodiscard]] Result<policy::YamlNode> parse_yaml(std::string_view text, const std::string& file);

}  // namespace wrapd::policyfile
