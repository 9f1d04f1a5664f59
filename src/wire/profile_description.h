// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/confinement.h"
#include "wire/kind.h"

namespace wrapd::wire {

// wrap-compile -> wrap, its standard output: what a compiled profile asks for.
struct ProfileDescription {
  static constexpr Kind kKind{"compiled", "profile"};
  std::string policy;
  std::string mode;
  plan::Confinement confinement;
  std::vector<std::string> notices;  // for the user's stderr
};
[[nodiscard]] std::string encode(const ProfileDescription& description);
[[nodiscard]] Result<ProfileDescription> decode_profile_description(std::string_view text);

}  // namespace wrapd::wire
