// SPDX-License-Identifier: Apache-2.0
#include "policy/model.h"

namespace wrapd::policy {

size_t Policy::rule_count() const {
  size_t count = 0;
  for_each_rule([&](const Rule&) { ++count; });
  return count;
}

bool Policy::uses(Variable variable) const {
  bool found = false;
  for_each_rule([&](const Rule& rule) {
    found |= std::ranges::any_of(rule.patterns, [&](const Pattern& pattern) { return pattern.uses(variable); });
  });
  return found;
}

}  // namespace wrapd::policy
