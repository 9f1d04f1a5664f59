// SPDX-License-Identifier: Apache-2.0
// What a supervisor does to the tasks that it supervises, tried on a child of ours.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "kernel/uapi.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr const char* kPtraceAdvice =
    "sessions of the service do not need this; for wrap --standalone, /proc/sys/kernel/yama/ptrace_scope must be below "
    "2 and no container may forbid it";

// A child that waits until the object ends.
class Child {
 public:
  Child() {
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::getppid() != parent) ::_exit(1);
    for (;;) ::pause();
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

Finding no_child(int error) {
  return failed(with_errno("cannot create a process", error), "try again");
}

}  // namespace

Finding probe_pidfd_getfd() {
  auto file = sealed_memfd("doctor", {});
  if (!file) return failed(file.error().message, "");
  Child child;
  if (child.pid() < 0) return no_child(errno);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid(), 0)));
  if (!pidfd) return failed(with_errno("cannot open a pidfd", errno), "Linux 5.19 or later is needed");
  UniqueFd taken(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), file->get(), 0)));
  if (!taken) return failed(with_errno("cannot take a descriptor of a child", errno), kPtraceAdvice);
  struct stat ours {};
  struct stat theirs {};
  if (::fstat(file->get(), &ours) < 0 || ::fstat(taken.get(), &theirs) < 0 || ours.st_ino != theirs.st_ino) {
    return failed("another descriptor was taken than asked for", kPtraceAdvice);
  }
  return ok("a descriptor of a child was taken");
}

Finding probe_read_memory() {
  static const std::array<char, 8> kSecret{'w', 'r', 'a', 'p', 'd', 'o', 'k', '!'};
  Child child;
  if (child.pid() < 0) return no_child(errno);
  std::array<char, kSecret.size()> buffer{};
  iovec local{buffer.data(), buffer.size()};
  iovec remote{const_cast<char*>(kSecret.data()), kSecret.size()};
  ssize_t n = ::process_vm_readv(child.pid(), &local, 1, &remote, 1, 0);
  if (n < 0) return failed(with_errno("cannot read the memory of a child", errno), kPtraceAdvice);
  if (static_cast<size_t>(n) != buffer.size() || buffer != kSecret) {
    return failed("the memory of a child reads as something else", kPtraceAdvice);
  }
  return ok("the memory of a child was read");
}

Finding probe_pidfd_thread() {
  std::promise<pid_t> tid;
  std::promise<void> done;
  std::thread thread([&tid, ended = done.get_future()]() mutable {
    tid.set_value(static_cast<pid_t>(::syscall(SYS_gettid)));
    ended.wait();
  });
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, tid.get_future().get(), PIDFD_THREAD)));
  int error = errno;
  done.set_value();
  thread.join();
  if (fd) return ok("a single thread was opened");
  if (error != EINVAL) {
    return failed(with_errno("cannot open a thread", error), "Linux 5.19 or later is needed");
  }
  return fallback("pidfds of whole processes are in use; what is taken is compared with what the thread has",
                  "Linux 6.9 or later has pidfds of threads");
}

Finding probe_peer_pidfd() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    return failed(with_errno("cannot make a pair of sockets", errno), "try again");
  }
  UniqueFd first(ends[0]);
  UniqueFd second(ends[1]);
  int fd = -1;
  socklen_t length = sizeof fd;
  if (::getsockopt(first.get(), SOL_SOCKET, SO_PEERPIDFD, &fd, &length) == 0) {
    UniqueFd peer(fd);
    return ok("a socket gave its peer's pidfd");
  }
  return fallback("pidfd_open of the number that the socket recorded is in use; it can only make a caller be refused",
                  "Linux 6.5 or later has SO_PEERPIDFD");
}

Finding examine_yama(const std::string& file, bool is_root) {
  std::ifstream in(file);
  if (!in) return ok("not built in");
  int scope = -1;
  if (!(in >> scope))
    return failed("cannot understand " + printable(file), "see Documentation/admin-guide/LSM/Yama.rst");
  const std::string detail = "ptrace_scope is " + std::to_string(scope);
  if (scope <= 1 && scope >= 0) return ok(detail);
  if (scope == 2) {
    if (is_root) return ok(detail);
    return fallback(detail + ": sessions of the service work, wrap --standalone works for root only",
                    "sysctl kernel.yama.ptrace_scope=1, if --standalone is wanted");
  }
  return failed(detail + ": nobody may look into another process, not even the service",
                "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot");
}

Finding probe_yama() {
  return examine_yama("/proc/sys/kernel/yama/ptrace_scope", ::geteuid() == 0);
}

}  // namespace wrapd::wrapctl::doctor
