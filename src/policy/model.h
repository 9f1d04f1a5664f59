// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/verdict.h"

namespace wrapd::policy {

// How questions of `decision: ask` are put. Zero: this policy does not say. Each smaller value is the stricter one.
struct Approval {
  uint32_t timeout_seconds = 0;  // how long a call waits for an answer; then it is denied
  uint16_t rate = 0;             // questions a second, per session
  uint16_t burst = 0;            // questions at once, after a pause
};
inline constexpr uint32_t kMaxApprovalTimeout = 3600;
inline constexpr uint16_t kMaxApprovalRate = 100;
inline constexpr uint16_t kMaxApprovalBurst = 100;
// Where no policy says otherwise.
inline constexpr Approval kDefaultApproval{.timeout_seconds = 60, .rate = 10, .burst = 5};

// Where something is written in its file, both from 1; columns in bytes.
struct Place {
  int line = 1;
  int column = 1;
};

// A policy as it was written: checked, complete, variables not yet filled in. Made by load_policy() only.
struct UnixSocketRule {
  std::string name;
  std::vector<std::string> paths;  // patterns as written: absolute paths and "@abstract" names
  uint8_t operations = 0;          // mask of UnixOperation; all of them where the policy names none
  Verdict decision = Verdict::deny;
  std::string guidance;         // shown to the user beside a denial; may be empty
  int line = 0;                 // where the rule starts, from 1
  std::vector<Place> places{};  // of each of `paths`; empty where no file was read
};

struct Policy {
  std::string name;
  std::string file;  // as given to load_policy()

  bool seccomp_enabled = true;              // false: nothing is filtered, as mode disabled
  Mode mode = Mode::enforce;                // sandbox.seccomp.mode
  bool unix_socket_enabled = true;          // sandbox.seccomp.unix_socket.enabled && sandbox.unix_sockets.enabled
  Mode unix_socket_action = Mode::enforce;  // sandbox.seccomp.unix_socket.action: enforce or audit
  bool monitor_unsupported = false;         // on_unsupported: monitor

  Approval approval;

  // Absent: unix sockets are unmediated by this policy. Present and empty: all are denied.
  std::optional<std::vector<UnixSocketRule>> unix_socket_rules;

  // True if this policy judges unix sockets at all.
  [[nodiscard]] bool judges_unix_sockets() const {
    return effective_mode() != Mode::disabled && unix_socket_enabled && unix_socket_rules.has_value();
  }
  [[nodiscard]] Mode effective_mode() const { return seccomp_enabled ? mode : Mode::disabled; }
  // The mode in force for unix sockets: audit if either switch says so.
  [[nodiscard]] Mode unix_socket_mode() const {
    Mode m = effective_mode();
    return m == Mode::enforce && unix_socket_action == Mode::audit ? Mode::audit : m;
  }
};

// What ${...} stands for. The service takes them from the kernel and the passwd database, never from an environment;
// the working directory alone is the client's word. An empty value makes patterns that use it an error.
struct Variables {
  std::string home;
  std::string cwd;
  std::string uid;
  std::string user;
  std::string xdg_runtime_dir;
};

}  // namespace wrapd::policy
