// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the administrator wrote, as it was when it was read: the service's configuration and every policy. Never
// changed; a reload makes a new one, and sessions that are being opened keep theirs.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/model.h"
#include "policyfile/service_config.h"

namespace wrapd::daemon {

struct CataloguePaths {
  std::string config;    // wrapd.yaml; may be missing
  std::string policies;  // the administrator's; a file here replaces the vendor's of the same name
  std::string vendor_policies;
  std::string subordinate_ids;  // subuid(5)
};

// Which of the variables the patterns of a policy name.
struct VariableUse {
  bool home = false;
  bool cwd = false;
  bool uid = false;
  bool user = false;
  bool xdg_runtime_dir = false;
  [[nodiscard]] bool passwd() const { return home || user; }
};
[[nodiscard]] VariableUse variables_used(const policy::Policy& policy);

struct CataloguePolicy {
  policy::Policy policy;
  VariableUse use;
  std::string text;    // the YAML that was loaded
  std::string digest;  // of it, policy_digest()
};

struct RejectedPolicy {
  std::string file;
  std::string name;  // what it would have been called, if that is known; else its file's name without .yaml
  std::string why;
};

struct Catalogue {
  policyfile::ServiceConfig config;
  std::map<std::string, std::shared_ptr<const CataloguePolicy>, std::less<>> policies;
  std::vector<RejectedPolicy> rejected;
  std::string problem;  // why nobody can be served; empty: all is well

  // The policy by name, or nullptr. A name whose file was rejected is never served from another file.
  [[nodiscard]] std::shared_ptr<const CataloguePolicy> find(std::string_view name) const;
  [[nodiscard]] const RejectedPolicy* rejection(std::string_view name) const;
};

// Reads everything. An invalid configuration is an error; broken policies are listed in `rejected`. Looks up users and
// groups: may block.
[[nodiscard]] Result<std::shared_ptr<const Catalogue>> load_catalogue(const CataloguePaths& paths);

}  // namespace wrapd::daemon
