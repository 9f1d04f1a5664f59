// SPDX-License-Identifier: Apache-2.0
#include "policy/test_policy.h"

#include "policy/classes.h"
#include "policy/layers.h"

namespace wrapd::policy {

Result<TestAnswer> test_policy(const Policy& policy, const Variables& variables, const Request& request) {
  auto block = compile_rules(policy, variables);
  if (!block) return std::unexpected(block.error());
  auto rules = RuleSet::open(*block);
  if (!rules) return std::unexpected(rules.error());
  Layers layers;
  layers.add(*rules);
  TestAnswer answer{
      .decision = layers.judge(request), .judged = rules->judges(request.of_class), .rule = {}, .guidance = {}};
  if (auto rule = layers.rule_of(answer.decision)) {
    answer.rule = rule->name;
    answer.guidance = rule->guidance;
  }
  return answer;
}

std::optional<Operation> operation_of(std::string_view word) {
  for (const ClassEntry& entry : class_table()) {
    for (Operation operation : entry.operations) {
      if (word == to_string(operation)) return operation;
    }
  }
  return std::nullopt;
}

}  // namespace wrapd::policy
