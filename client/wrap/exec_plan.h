// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace wrapd::client {

// What execvp(3) would do with CMD, worked out before the fork so that the child neither allocates nor looks up.
class ExecPlan {
 public:
  // `argv` is CMD and its arguments (at least one), borrowed. `path` is the value of PATH, or nullptr: not set.
  ExecPlan(std::vector<char*> argv, const char* path, char** environment);

  struct Failure {
    int error = 0;
  };
  // Tries the candidates in turn; returns only if all failed. Async-signal-safe.
  [[nodiscard]] Failure execute() const noexcept;

  [[nodiscard]] const std::vector<std::string>& candidates() const { return candidates_; }
  [[nodiscard]] const char* name() const { return argv_.front(); }

 private:
  std::vector<char*> argv_;             // CMD [ARG]... nullptr
  mutable std::vector<char*> sh_argv_;  // /bin/sh SCRIPT [ARG]... nullptr; SCRIPT is filled in when it is known
  std::vector<std::string> candidates_;
  char** environment_;
};

// One line about a CMD that could not be executed, and wrap's exit status for it.
struct ExecFailure {
  std::string message;
  int status;
};
[[nodiscard]] ExecFailure describe_exec_failure(const ExecPlan& plan, int error);

}  // namespace wrapd::client
