// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/model.h"

namespace wrapd::policyfile {

// wrapd.yaml: who gets which policy, and limits.
//
//   version: 1
//   access:                       # the first entry that matches the caller counts; none: the caller is refused
//     - {users: [alice, 1001], groups: [devs], policies: [agents, default], default: agents}
//     - {users: ["*"], policies: [default], default: default}     # who has an account
//     - {users: ["*+"], policies: [other], default: other}        # everybody
//   limits: {sessions_per_user: 64, pending_per_user: 16, sessions: 1024, pending: 1024}
//   handoff: {permissive_fallback: false}
struct AccessRule {
  bool accounts = false;   // everybody with an entry in the user database, and root
  bool everybody = false;  // also uids that nobody has an account with, such as subordinate ids (subuid(5))
  std::vector<uid_t> users;
  std::vector<gid_t> groups;
  std::vector<std::string> policies;  // what the caller may ask for
  std::vector<policy::Place> places;  // of each of `policies`; empty where no file was read
  std::string default_policy;         // what the caller gets without asking; one of `policies`
};

struct ServiceConfig {
  std::vector<AccessRule> access;  // never empty
  unsigned sessions_per_user = 64;
  unsigned pending_per_user = 16;  // connections that have not opened a session yet
  unsigned sessions = 1024;        // of all users together; so are those that wait:
  unsigned pending = 1024;
  bool permissive_fallback = false;

  // The entry for a caller with these kernel-given ids, or nullptr. `account`: the user database knows the uid.
  [[nodiscard]] const AccessRule* access_for(uid_t uid, gid_t gid, std::span<const gid_t> groups, bool account) const;
};

// The configuration without a file: everybody with an account gets the policy `default`.
[[nodiscard]] ServiceConfig default_service_config();

// Strict, like load_policy(). User and group names are looked up here, once.
[[nodiscard]] Result<ServiceConfig> load_service_config(std::string_view text, const std::string& file);

}  // namespace wrapd::policyfile
