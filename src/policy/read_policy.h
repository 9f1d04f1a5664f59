// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "policy/model.h"
#include "policy/yaml_tree.h"

namespace wrapd::policy {

// A policy out of its YAML, strictly. Errors are "FILE:LINE:COL: what, and what would be right"; `file` is used for
// them only.
[[nodiscard]] Result<Policy> read_policy(const YamlNode& root, const std::string& file);

}  // namespace wrapd::policy
