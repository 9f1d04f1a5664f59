// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrap/options.h"
#include "wire/profile_description.h"

namespace wrapd::client {

// A profile as wrap-compile made it, with the user's own rights.
struct CompiledProfile : wire::ProfileDescription {
  UniqueFd rules;   // sealed memfd, policy::RuleSet
  UniqueFd filter;  // sealed memfd, array of sock_filter; for standalone use
};

// Compiles `file` with the program that belongs to this one. Errors of the profile are passed on as they are.
[[nodiscard]] Result<CompiledProfile> compile_profile(const Options& options, const std::string& file);

// The profile of --standalone without --profile.
[[nodiscard]] std::string default_profile();

}  // namespace wrapd::client
