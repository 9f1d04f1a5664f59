// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_policy.h"

#include <algorithm>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

std::unexpected<wire::ErrorReply> refusal(std::string_view code, const std::string& message) {
  return std::unexpected(wire::ErrorReply{.code = std::string(code), .message = message});
}

}  // namespace

std::expected<SessionPolicy, wire::ErrorReply> policy_for(const Catalogue& catalogue, const PeerCredentials& peer,
                                                          bool account, const std::optional<std::string>& wanted) {
  if (!catalogue.problem.empty()) return refusal("internal", catalogue.problem);
  const policyfile::AccessRule* access = catalogue.config.access_for(peer.uid, peer.gid, peer.groups, account);
  if (access == nullptr && catalogue.config.access_for(peer.uid, peer.gid, peer.groups, true) != nullptr) {
    return refusal(wire::kNotPermitted,
                   "you may not open sessions: nobody has an account with your uid; the administrator grants it in "
                   "wrapd.yaml (access, \"*+\")");
  }
  if (access == nullptr) {
    return refusal(wire::kNotPermitted,
                   "you may not open sessions; the administrator grants it in wrapd.yaml (access)");
  }
  SessionPolicy picked{.name = wanted.value_or(access->default_policy), .policy = nullptr};
  const std::string shown = printable(picked.name, 128);
  if (std::ranges::find(access->policies, picked.name) == access->policies.end()) {
    return refusal(wire::kNotPermitted,
                   "you may not use the policy " + shown + "; the administrator grants it in wrapd.yaml");
  }
  picked.policy = catalogue.find(picked.name);
  if (picked.policy) return picked;
  if (const auto* rejection = catalogue.rejection(picked.name)) {
    return refusal("unknown-policy", "the policy " + shown + " is broken and cannot be used; ask the administrator (" +
                                         "wrapctl policy check " + printable(rejection->file, 512) + ")");
  }
  return refusal("unknown-policy", "there is no policy " + shown + "; the administrator has to install it");
}

}  // namespace wrapd::daemon
