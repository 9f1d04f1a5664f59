// SPDX-License-Identifier: Apache-2.0
#pragma once

// broker -> supervisor, the only message of that direction before the session runs; both are ours, and both still
// check.

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "wire/control.h"

namespace wrapd::wire {

// Descriptors of the message, all of them, in this order.
enum class ConfigFd : size_t {
  control = 0,  // accepted control channel
  notify = 1,   // listening hand-off sockets
  signal = 2,
  ptrace = 3,
  root = 4,     // O_PATH of the client's root directory
  rules = 5,    // sealed memfd, policy::RuleSet
  filter = 6,   // sealed memfd, array of sock_filter (present always; empty programs are one instruction: allow)
  records = 7,  // audit::Allowance
};
inline constexpr size_t kConfigFds = 8;

struct SupervisorConfig {
  static constexpr Kind kKind{"config", "session"};
  uid_t own_uid = static_cast<uid_t>(-1);  // real and saved ids of the supervisor: the system user `wrapd`
  gid_t own_gid = static_cast<gid_t>(-1);
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;
  pid_t client_pid = 0;  // decoration for the audit
  std::string command;   // decoration
  bool events = false;
  bool profile = false;      // the client sends one, wire::kProfileMessage
  size_t record_slot = 0;    // the user's in the allowance of records
  size_t waiting_calls = 1;  // that may wait at once
  SessionReply reply;        // sent to the client as soon as the supervisor is ready
};
[[nodiscard]] std::string encode(const SupervisorConfig& config);
[[nodiscard]] Result<SupervisorConfig> decode_supervisor_config(std::string_view text);

}  // namespace wrapd::wire
