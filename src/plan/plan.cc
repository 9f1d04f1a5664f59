// SPDX-License-Identifier: Apache-2.0

// What a policy costs before and while its command runs is decided here: nothing is trapped that no layer judges, and
// renames only where a moved name could bring a denied socket under an allowed one.

#include "plan/plan.h"

#include <algorithm>
#include <utility>

#include "policy/rules.h"

namespace wrapd::plan {

Result<Plan> compile_plan(const policy::Policy& policy, const policy::Variables& variables, const FilterSpec& narrow,
                          const OthersMayCreate& others_may_create) {
  Plan plan;
  plan.monitor_unsupported = policy.monitor_unsupported;
  Result<std::vector<std::byte>> block = policy::compile_rules(policy, variables);
  if (!block) return std::unexpected(block.error());
  plan.rules = std::move(*block);

  // A disabled policy leaves the command alone, but it does not take away what the user asked for.
  if (policy.effective_mode() == policy::Mode::disabled && narrow == FilterSpec{}) {
    plan.filtered = false;
    plan.scope_signal = false;
    return plan;
  }

  plan.filter_spec = narrow;
  if (policy.judges_unix_sockets()) {
    Result<policy::RuleSet> rules = policy::RuleSet::open(plan.rules);
    if (!rules) return std::unexpected(rules.error());
    const std::vector<std::string_view> allowed = rules->allowed_connect_prefixes();
    plan.filter_spec.unix_sockets = true;
    // A command of root's makes and moves names wherever root does.
    const bool root = variables.uid == "0";
    // Where a program may bind, it can make names by definition: what it bound there must stay where it was judged.
    const bool binds = std::ranges::any_of(*policy.unix_socket_rules, [](const policy::UnixSocketRule& rule) {
      return (rule.operations & static_cast<uint8_t>(policy::UnixOperation::bind)) != 0 &&
             rule.decision != policy::Verdict::deny &&
             std::ranges::any_of(rule.paths, [](const std::string& path) { return !path.starts_with('@'); });
    });
    plan.filter_spec.renames = narrow.renames || binds || std::ranges::any_of(allowed, [&](auto directory) {
                                 return root || others_may_create(directory);
                               });
    plan.scope_abstract = policy.unix_socket_mode() == policy::Mode::enforce && !rules->allows_any_abstract();
  }

  Result<std::vector<sock_filter>> filter = compile_filter(plan.filter_spec);
  if (!filter) return std::unexpected(filter.error());
  plan.filter = std::move(*filter);
  return plan;
}

}  // namespace wrapd::plan
