// SPDX-License-Identifier: Apache-2.0
#include "policy/notices.h"

#include "policy/classes.h"

namespace wrapd::policy {

std::vector<std::string> notices(const Policy& policy, const std::string& kind) {
  const std::string who = kind + " " + policy.name;
  if (policy.effective_mode() == Mode::disabled) return {who + " is disabled: the command is not confined"};
  std::vector<std::string> out;
  for (const ClassEntry& entry : class_table()) {
    const std::string noun(entry.noun);
    if (!policy.of(entry.id).enabled) {
      out.push_back(who + " has " + noun + "s switched off: none is denied or recorded");
    } else if (policy.mode_of(entry.id) == Mode::audit) {
      out.push_back(who + " only records: no " + noun + " is denied");
    }
  }
  return out;
}

}  // namespace wrapd::policy
