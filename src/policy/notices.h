// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "policy/model.h"

namespace wrapd::policy {

// Where a policy's switches make it do less than its rules say: one line each, for the user and for the record. `kind`
// is "policy" or "profile".
[[nodiscard]] std::vector<std::string> notices(const Policy& policy, const std::string& kind);

}  // namespace wrapd::policy
