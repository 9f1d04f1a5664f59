// SPDX-License-Identifier: Apache-2.0

// What a policy costs before and while its command runs is decided here: nothing is trapped that no layer judges, and
// calls that make or move names only where a name could bring a denied socket under an allowed one.
//
// Names are what is judged. So where these calls are not trapped, the command can neither make a name that the policy
// allows, nor put a link in the place of a directory that leads to a name which it denies. Landlock holds none of this:
// its rights to make and move names do not know links from files that programs need. Layer by layer this is enough: a
// socket is opened to a command only by a layer that denied it before. Removing a directory, or making one, opens
// nothing: a real directory lies where it is judged.

#include "plan/plan.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "policy/classes/unix_socket.h"

namespace wrapd::plan {

namespace {

// A pattern with a wildcard for a directory counts as one that the command can make names for: the directories that it
// means are not known before the command runs.
Result<bool> names_can_move(const policy::Policy& policy, const policy::Variables& variables,
                            const policy::UnixSockets& sockets, const OthersMayCreate& others_may_create) {
  const std::vector<std::string_view> allowed = sockets.allowed_directories();
  if (allowed.empty()) return false;
  for (std::string_view directory : allowed) {
    const bool any_beneath = directory.size() > 1 && directory.ends_with('/');
    if (any_beneath || others_may_create(directory)) return true;
  }
  Result<std::set<std::string>> denied = policy::denied_directories(policy, variables);
  if (!denied) return std::unexpected(denied.error());
  return std::ranges::any_of(*denied, [&](const std::string& directory) {
    // Who replaces a directory does it in the one above.
    return directory != "/" &&
           others_may_create(std::string_view(directory).substr(0, std::max<size_t>(directory.rfind('/'), 1)));
  });
}

}  // namespace

Result<Plan> compile_plan(const policy::Policy& policy, const policy::Variables& variables, TrapSet narrow,
                          const OthersMayCreate& others_may_create) {
  Plan plan;
  Confinement& confinement = plan.confinement;
  confinement.monitor_unsupported = policy.monitor_unsupported;
  Result<std::vector<std::byte>> block = policy::compile_rules(policy, variables);
  if (!block) return std::unexpected(block.error());
  plan.rules = std::move(*block);

  // A disabled policy leaves the command alone, but it does not take away what the user asked for.
  if (policy.effective_mode() == policy::Mode::disabled && narrow.empty()) {
    confinement.filtered = false;
    confinement.scopes.signal = false;
    return plan;
  }

  confinement.traps = narrow;
  for (size_t c = 0; c < policy::kClasses; ++c) {
    if (policy.judges(static_cast<policy::Class>(c))) confinement.traps |= kClassTraps[c];
  }
  if (policy.judges(policy::Class::unix_socket)) {
    Result<policy::RuleSet> rules = policy::RuleSet::open(plan.rules);
    if (!rules) return std::unexpected(rules.error());
    const policy::UnixSockets sockets(*rules);
    // A command of root's makes and moves names wherever root does.
    const bool root = variables.uid == "0";
    Result<bool> moves = names_can_move(
        policy, variables, sockets, [&](std::string_view directory) { return root || others_may_create(directory); });
    if (!moves) return std::unexpected(moves.error());
    // Where a program may bind, it can make names by definition: what it bound there must stay where it was judged.
    if (policy::binds_paths(policy) || *moves) confinement.traps |= {TrapGroup::rename_link};
    confinement.scopes.abstract_socket = rules->enforces(policy::Class::unix_socket) && !sockets.allows_any_abstract();
  }

  plan.filter = compile_filter(confinement.traps);
  return plan;
}

}  // namespace wrapd::plan
