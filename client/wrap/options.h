// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace wrapd::client {

// Exit statuses of wrap's own, as env(1), nohup(1) and timeout(1) use them.
inline constexpr int kExitFailed = 125;         // wrap failed; CMD was not started, or was ended
inline constexpr int kExitCannotExecute = 126;  // CMD was found and cannot be executed
inline constexpr int kExitNotFound = 127;

struct Options {
  enum class Action { run, explain, help, version };
  Action action = Action::run;
  std::optional<std::string> policy;
  std::optional<std::string> profile;
  std::optional<std::string> audit_log;
  int audit_fd = -1;  // --audit-log fd:N; above 2
  bool standalone = false;
  bool audit = false;  // --mode audit
  bool quiet = false;
  int status_fd = -1;
  std::vector<int> keep_fds;           // each once, none below 3
  std::string control;                 // socket of the service
  std::optional<std::string> compile;  // program that compiles profiles, instead of the installed one
  std::vector<char*> command;          // CMD and its arguments, borrowed from argv; empty only if nothing is run
};

// Parses a command line. Options end at the first word that is none. The whole is also checked for what contradicts.
[[nodiscard]] Result<Options> parse_options(int argc, char** argv);

[[nodiscard]] std::string_view help_text();

}  // namespace wrapd::client
