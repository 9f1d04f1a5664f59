// SPDX-License-Identifier: Apache-2.0
#pragma once

// The compiled form of a policy's rules: one flat, position-independent block of bytes that the service makes once and
// every supervisor maps read-only from the same sealed memfd, so that nothing is built or allocated at a session's
// start.
//
// The block may come from a user (a compiled profile): RuleSet::open() checks every index, so that nothing later can
// leave the block, loop for ever or allocate by what it says.

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/block.h"
#include "policy/decision.h"
#include "policy/model.h"

namespace wrapd::policy {

// Fills in the variables (their values match literally) and compiles. Errors name file and line.
[[nodiscard]] Result<std::vector<std::byte>> compile_rules(const Policy& policy, const Variables& variables);

class RuleSet {
 public:
  // Checks the whole block. The view borrows `block`, which must outlive it.
  [[nodiscard]] static Result<RuleSet> open(std::span<const std::byte> block);

  [[nodiscard]] std::string_view policy_name() const { return policy_name_; }
  [[nodiscard]] bool monitor_unsupported() const;
  [[nodiscard]] Approval approval() const;  // within the bounds of model.h; zero where the policy does not say

  // Nothing where the policy does not judge the class.
  [[nodiscard]] const std::optional<Section>& section(Class c) const { return sections_[static_cast<size_t>(c)]; }
  [[nodiscard]] bool judges(Class c) const { return section(c).has_value(); }
  [[nodiscard]] bool judges_anything() const;
  // What is done with this layer's verdicts on the class.
  [[nodiscard]] Mode mode(Class c) const { return section(c) ? section(c)->mode() : Mode::disabled; }
  [[nodiscard]] bool enforces(Class c) const { return mode(c) == Mode::enforce; }

  // First matching rule wins; none: deny. A layer that does not judge the class answers allow.
  [[nodiscard]] LayerVerdict judge(const Request& request) const;

 private:
  RuleSet() = default;
  std::span<const std::byte> block_;
  std::string_view policy_name_;
  std::array<std::optional<Section>, kClasses> sections_;
};

}  // namespace wrapd::policy
