// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "policy/model.h"

namespace wrapd::policyfile {

inline constexpr size_t kMaxPolicyText = 8U << 20;  // bytes of YAML

// Parses a policy strictly. Errors are "FILE:LINE:COL: what, and what would be right"; `file` is used for them only.
[[nodiscard]] Result<policy::Policy> load_policy(std::string_view text, const std::string& file);

// Reads a policy file: the text that load_policy() takes. With `trusted_only`, a file that others than root can write
// (or that root does not own), or that lies in a directory of that kind, is refused.
[[nodiscard]] Result<std::string> read_policy_file(const std::string& path, bool trusted_only);

// Reads and parses a policy file.
[[nodiscard]] Result<policy::Policy> load_policy_file(const std::string& path, bool trusted_only);

}  // namespace wrapd::policyfile
