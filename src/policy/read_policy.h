// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "policy/model.h"
#include "policy/yaml_reader.h"

namespace wrapd::policy {

// A policy out of its YAML, strictly. Errors are "FILE:LINE:COL: what, and what would be right"; `file` is used for
// them only.
[[nodiscard]] Result<Policy> read_policy(const YamlNode& root, const std::string& file);

// For the classes, to read what is theirs: a rule's patterns, and a list of operations as a mask. `unsupported` are
// words for operations to come.
void read_patterns(YamlReader& r, const YamlNode& node, Rule& rule);
[[nodiscard]] uint32_t read_operations(YamlReader& r, const YamlNode& node, std::span<const Operation> operations,
                                       const YamlReader::Words& unsupported);

}  // namespace wrapd::policy
