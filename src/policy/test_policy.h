// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "policy/decision.h"
#include "policy/model.h"

namespace wrapd::policy {

// What a policy by itself says to one request of a user with these variables.
struct TestAnswer {
  Decision decision;
  bool judged = true;  // false: the policy does not judge this class
  std::string rule;    // empty: none matched
  std::string guidance;
};
[[nodiscard]] Result<TestAnswer> test_policy(const Policy& policy, const Variables& variables, const Request& request);

// The operation that is written so, of any class.
[[nodiscard]] std::optional<Operation> operation_of(std::string_view word);

}  // namespace wrapd::policy
