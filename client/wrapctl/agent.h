// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

namespace wrapd::wrapctl {

// polkit's agent for a bare terminal, pkttyagent(1): asks for a password where no other agent of the session does. Runs
// while the object lives; afterwards the terminal is as it was.
class PasswordAgent {
 public:
  // Starts it if a person may be asked here: stdin and stderr are terminals and the caller is not root, whom polkit is
  // not asked about. What keeps an agent from starting is said on stderr, unless there is none on this machine.
  explicit PasswordAgent(bool allowed);
  ~PasswordAgent();
  PasswordAgent(const PasswordAgent&) = delete;
  PasswordAgent& operator=(const PasswordAgent&) = delete;

 private:
  pid_t pid_ = -1;
};

}  // namespace wrapd::wrapctl
