// SPDX-License-Identifier: Apache-2.0
#include "daemon/activation.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdlib>

namespace wrapd::daemon {

Result<Passed> take_passed_descriptors() {
  char** names = nullptr;
  int count = sd_listen_fds_with_names(1, &names);
  if (count < 0) return fail_errno("cannot read what the service manager passed", -count);
  Passed passed;
  UniqueFd& control = passed.control;
  bool twice = false;
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    if (names[i] == kControlName) {
      twice = twice || control.valid();
      control = std::move(fd);
    } else {
      passed.others.push_back({.name = names[i], .fd = std::move(fd)});
    }
    std::free(names[i]);
  }
  std::free(names);
  if (!control) {
    return fail("no socket named " + std::string(kControlName) + " was passed; start wrapd.socket instead of wrapd");
  }
  if (twice) return fail("more than one socket named " + std::string(kControlName) + " was passed");
  int is_socket = sd_is_socket(control.get(), AF_UNIX, SOCK_SEQPACKET, 1);
  if (is_socket < 0) return fail_errno("cannot look at the control socket", -is_socket);
  if (is_socket == 0) return fail("the control socket is not a listening AF_UNIX SOCK_SEQPACKET socket");
  int flags = ::fcntl(control.get(), F_GETFL);
  if (flags < 0 || ::fcntl(control.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return fail_errno("cannot set up the control socket");
  }
  return passed;
}

Result<> tidy_descriptors() {
  int fd;
  do fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= 2);
  if (fd < 0) return fail_errno("cannot open /dev/null");
  ::close(fd);
  for (int standard = 0; standard <= 2; ++standard) {
    if (::fcntl(standard, F_SETFD, 0) < 0) return fail_errno("cannot set up descriptor " + std::to_string(standard));
  }
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0) return fail_errno("cannot mark descriptors close-on-exec");
  return {};
}

}  // namespace wrapd::daemon
