// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/report.h"

#include <poll.h>
#include <unistd.h>

#include "base/io.h"

namespace wrapd::client {

void print(int fd, std::string_view text) {
  // Where stdout or stderr is closed or full there is nobody left to tell.
  static_cast<void>(write_all(fd, text));
}

void print_if_room(int fd, std::string_view text) {
  // Ready for poll(2) is a pipe with room for PIPE_BUF (pipe(7)), and a terminal that is not stopped.
  pollfd polled{fd, POLLOUT, 0};
  if (::poll(&polled, 1, 0) == 1 && polled.revents == POLLOUT) print(fd, text);
}

void print_error(std::string_view message) {
  print(STDERR_FILENO, "wrap: " + std::string(message) + "\n");
}

void StatusReport::started(std::string_view session, pid_t pid) const {
  if (fd_ < 0) return;
  // A session's id is hexadecimal digits; standalone it is empty.
  print(fd_,
        "{\"event\":\"started\",\"session\":\"" + printable(session, 64) + "\",\"pid\":" + std::to_string(pid) + "}\n");
}

void StatusReport::exited(int status) const {
  if (fd_ >= 0) print(fd_, "{\"event\":\"exited\",\"status\":" + std::to_string(status) + "}\n");
}

}  // namespace wrapd::client
