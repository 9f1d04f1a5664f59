// SPDX-License-Identifier: Apache-2.0
#include "policy/notices.h"

namespace wrapd::policy {

std::vector<std::string> notices(const Policy& policy, const std::string& kind) {
  const std::string who = kind + " " + policy.name;
  if (policy.effective_mode() == Mode::disabled) return {who + " is disabled: the command is not confined"};
  if (!policy.unix_socket_enabled) return {who + " has unix sockets switched off: none is denied or recorded"};
  if (policy.unix_socket_mode() == Mode::audit) return {who + " only records: no unix socket is denied"};
  return {};
}

}  // namespace wrapd::policy
