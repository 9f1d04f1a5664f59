// SPDX-License-Identifier: Apache-2.0
#include "daemon/policy_view.h"

#include <algorithm>
#include <string>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

bool sees_all(const PeerCredentials& caller) {
  return caller.uid == 0;
}

const policyfile::AccessRule* access_of(const Catalogue& catalogue, const PeerCredentials& caller, bool account) {
  return catalogue.config.access_for(caller.uid, caller.gid, caller.groups, account);
}

bool granted(const policyfile::AccessRule* access, std::string_view name) {
  return access != nullptr && std::ranges::find(access->policies, name) != access->policies.end();
}

std::unexpected<ApiError> no_such(std::string_view name) {
  return std::unexpected(ApiError{"NoSuchPolicy", "there is no policy " + printable(name, 128) + " for you"});
}

// Why a policy cannot be used; the details, which quote the file, are root's.
std::string problem_of(const RejectedPolicy& rejected, const PeerCredentials& caller) {
  return sees_all(caller) ? rejected.why : "it is broken; ask the administrator";
}

PolicyInfo info_of(const Catalogue& catalogue, const PeerCredentials& caller, const std::string& name, bool account) {
  const auto* access = access_of(catalogue, caller, account);
  PolicyInfo info{.name = name, .is_default = access != nullptr && access->default_policy == name};
  if (const auto* rejected = catalogue.rejection(name)) {
    info.file = rejected->file;
    info.problem = problem_of(*rejected, caller);
  } else if (auto policy = catalogue.find(name)) {
    info.file = policy->policy.file;
    info.mode = to_string(policy->policy.effective_mode());
  } else {
    info.problem = "it is not installed; ask the administrator";
  }
  return info;
}

}  // namespace

std::vector<PolicyInfo> visible_policies(const Catalogue& catalogue, const PeerCredentials& caller, bool account) {
  std::vector<std::string> names;
  if (const auto* access = access_of(catalogue, caller, account)) names = access->policies;
  if (sees_all(caller)) {
    for (const auto& [name, policy] : catalogue.policies) names.push_back(name);
    for (const auto& rejected : catalogue.rejected) names.push_back(rejected.name);
  }
  std::ranges::sort(names);
  const auto repeated = std::ranges::unique(names);
  names.erase(repeated.begin(), repeated.end());
  std::vector<PolicyInfo> out;
  out.reserve(names.size());
  for (const auto& name : names) out.push_back(info_of(catalogue, caller, name, account));
  return out;
}

ApiResult<PolicyText> visible_policy_text(const Catalogue& catalogue, const PeerCredentials& caller,
                                          std::string_view name, bool account) {
  if (!sees_all(caller) && !granted(access_of(catalogue, caller, account), name)) return no_such(name);
  if (const auto* rejected = catalogue.rejection(name)) {
    return std::unexpected(ApiError{"InvalidPolicy", printable(name, 128) + ": " + problem_of(*rejected, caller)});
  }
  auto policy = catalogue.find(name);
  if (!policy) return no_such(name);
  return PolicyText{.info = info_of(catalogue, caller, std::string(name), account), .text = policy->text};
}

ApiResult<std::shared_ptr<const CataloguePolicy>> usable_policy(const Catalogue& catalogue,
                                                                const PeerCredentials& caller, std::string_view name,
                                                                bool account) {
  const auto* access = access_of(catalogue, caller, account);
  if (name.empty()) {
    if (access == nullptr) {
      return std::unexpected(ApiError{"NotPermitted", "you may not open sessions, so that you have no default policy"});
    }
    name = access->default_policy;
  } else if (!sees_all(caller) && !granted(access, name)) {
    return no_such(name);
  }
  if (const auto* rejected = catalogue.rejection(name)) {
    return std::unexpected(ApiError{"InvalidPolicy", printable(name, 128) + ": " + problem_of(*rejected, caller)});
  }
  auto policy = catalogue.find(name);
  if (!policy) return no_such(name);
  return policy;
}

}  // namespace wrapd::daemon
