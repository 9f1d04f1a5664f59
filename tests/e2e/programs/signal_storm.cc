// SPDX-License-Identifier: Apache-2.0

// signal_storm PATH COUNT: connects COUNT times to an echoing unix socket while a timer interrupts every 200
// microseconds, with handlers that restart nothing. What a program may see natively is success or EINTR; anything else,
// and a connection that does not echo, ends it with 1. Prints how many signals arrived.

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<long> signals = 0;

bool echoes(int fd) {
  char sent = 'x';
  char got = 0;
  ssize_t n;
  do n = ::write(fd, &sent, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) return false;
  do n = ::read(fd, &got, 1);
  while (n < 0 && errno == EINTR);
  return n == 1 && got == sent;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(argv[1]) >= sizeof address.sun_path) return 2;
  std::strcpy(address.sun_path, argv[1]);

  struct sigaction action {};
  action.sa_handler = [](int) { ++signals; };
  if (::sigaction(SIGALRM, &action, nullptr) != 0) return 2;
  itimerval timer{.it_interval = {.tv_sec = 0, .tv_usec = 200}, .it_value = {.tv_sec = 0, .tv_usec = 200}};
  if (::setitimer(ITIMER_REAL, &timer, nullptr) != 0) return 2;

  long count = std::strtol(argv[2], nullptr, 10);
  long interrupted = 0;
  for (long i = 0; i < count;) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      std::perror("socket");
      return 1;
    }
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      if (!echoes(fd)) {
        std::perror("echo");
        return 1;
      }
      ++i;
    } else if (errno == EINTR) {
      ++interrupted;
    } else {
      std::perror("connect");
      return 1;
    }
    ::close(fd);
  }
  std::printf("%ld connected, %ld interrupted, %ld signals\n", count, interrupted, signals.load());
  return signals > 0 ? 0 : 1;
}
