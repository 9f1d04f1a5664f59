// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace wrapd::client {

// "wrap: MESSAGE\n" to stderr, in one write.
void print_error(std::string_view message);
// Text as it is.
void print(int fd, std::string_view text);
// The same, for what is not worth waiting for: nothing where the terminal is stopped or the pipe is full. `text` is at
// most PIPE_BUF long.
void print_if_room(int fd, std::string_view text);

// --status-fd: JSON lines for programs that run wrap. A descriptor of -1 takes nothing.
//   {"event":"started","session":"ID","pid":N}   the supervisor has CMD's tree and CMD is about to be executed
//   {"event":"exited","status":N}                N is wrap's exit status
class StatusReport {
 public:
  explicit StatusReport(int fd) : fd_(fd) {}
  void started(std::string_view session, pid_t pid) const;
  void exited(int status) const;

 private:
  int fd_;
};

}  // namespace wrapd::client
