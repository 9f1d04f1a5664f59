// SPDX-License-Identifier: Apache-2.0

// Each call is made by a process of its own under the supervisor's filter: the allowed ones come back, the others end
// it by SIGSYS.

#include "plan/supervisor_filter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernel/uapi.h"

namespace wrapd::plan {
namespace {

bool install(std::span<const sock_filter> filter) {
  std::vector<sock_filter> code(filter.begin(), filter.end());
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

constexpr int kReturned = 42;

// The wait status of a process that installs the filter and runs `body`.
int run(const std::function<void()>& body, std::span<const sock_filter> filter = kSupervisorFilter) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (!install(filter)) _exit(1);
    body();
    _exit(kReturned);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}

bool survives(const std::function<void()>& body, std::span<const sock_filter> filter = kSupervisorFilter) {
  const int status = run(body, filter);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == kReturned) << WEXITSTATUS(status);
  return WIFEXITED(status) && WEXITSTATUS(status) == kReturned;
}

bool dies(const std::function<void()>& body, std::span<const sock_filter> filter = kSupervisorFilter) {
  const int status = run(body, filter);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

void call(long nr, long a = 0, long b = 0, long c = 0, long d = 0) {
  ::syscall(nr, a, b, c, d, 0L, 0L);
}

bool change_to_root() {
  const int root = open("/", O_PATH | O_CLOEXEC);
  return root >= 0 && fchdir(root) == 0 && close(root) == 0;
}

class SupervisorFilterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!kSupervisorFilterApplies) GTEST_SKIP() << "instrumented builds run without this filter";
  }
};

TEST_F(SupervisorFilterTest, ForbiddenCallsKill) {
  struct Forbidden {
    const char* what;
    long nr;
    long a, b, c;
  };
  const Forbidden list[] = {
      {"execve", __NR_execve, 0, 0, 0},
      {"execveat", __NR_execveat, -1, 0, 0},
      {"ptrace", __NR_ptrace, 0, 0, 0},
      {"process_vm_writev", __NR_process_vm_writev, 0, 0, 0},
      {"kill", __NR_kill, 0, 0, 0},
      {"tkill", __NR_tkill, 0, 0, 0},
      {"tgkill", __NR_tgkill, 0, 0, 0},
      {"setuid", __NR_setuid, 0, 0, 0},
      {"setresuid", __NR_setresuid, -1, -1, -1},
      {"setresgid", __NR_setresgid, -1, -1, -1},
      {"setgroups", __NR_setgroups, 0, 0, 0},
      {"setfsuid", __NR_setfsuid, -1, 0, 0},
      {"mount", __NR_mount, 0, 0, 0},
      {"setns", __NR_setns, -1, 0, 0},
      {"chroot", __NR_chroot, 0, 0, 0},
      {"io_uring_setup", __NR_io_uring_setup, 0, 0, 0},
      {"seccomp", __NR_seccomp, 0, 0, 0},
      {"bpf", __NR_bpf, 0, 0, 0},
      {"dup", __NR_dup, 0, 0, 0},
      {"setsockopt", __NR_setsockopt, -1, 0, 0},
      {"unknown", 4000, 0, 0, 0},
      {"ioctl TIOCSTI", __NR_ioctl, -1, 0x5412, 0},
      {"ioctl TIOCSTI with garbage", __NR_ioctl, -1, 0x100005412, 0},
      {"fcntl F_SETFL O_ASYNC", __NR_fcntl, -1, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC},
      {"fcntl F_SETOWN", __NR_fcntl, -1, F_SETOWN, 0},
      {"fcntl F_SETSIG", __NR_fcntl, -1, F_SETSIG, 0},
      {"socket AF_INET", __NR_socket, AF_INET, SOCK_STREAM, 0},
      {"socket AF_NETLINK", __NR_socket, AF_NETLINK, SOCK_RAW, 0},
      {"prctl PR_SET_DUMPABLE", __NR_prctl, PR_SET_DUMPABLE, 1, 0},
      {"prctl PR_SET_PDEATHSIG of another signal", __NR_prctl, PR_SET_PDEATHSIG, SIGTERM, 0},
      {"prctl PR_SET_SECCOMP", __NR_prctl, PR_SET_SECCOMP, 0, 0},
      {"unshare CLONE_FS", __NR_unshare, CLONE_FS, 0, 0},
      {"unshare CLONE_FILES", __NR_unshare, CLONE_FILES, 0, 0},
      {"unshare CLONE_FS and CLONE_NEWNS", __NR_unshare, CLONE_FS | CLONE_NEWNS, 0, 0},
      {"unshare nothing", __NR_unshare, 0, 0, 0},
      {"mmap PROT_EXEC", __NR_mmap, 0, 4096, PROT_READ | PROT_EXEC},
      {"mprotect PROT_EXEC", __NR_mprotect, 0, 0, PROT_EXEC},
      {"process that shares our descriptors", __NR_clone, CLONE_VM | CLONE_VFORK | CLONE_FILES, 0, 0},
      {"process that goes on beside us", __NR_clone, CLONE_VM, 0, 0},
      {"fork by clone", __NR_clone, SIGCHLD, 0, 0},
      {"thread in a new namespace", __NR_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWNET, 0, 0},
#ifdef __x86_64__
      {"fork", __NR_fork, 0, 0, 0},
      {"vfork", __NR_vfork, 0, 0, 0},
      {"x32 getpid", __NR_getpid | 0x40000000, 0, 0, 0},
#endif
  };
  for (const Forbidden& f : list) {
    EXPECT_TRUE(dies([&] { call(f.nr, f.a, f.b, f.c); })) << f.what;
    // What a supervisor of root's sessions has besides is in the test below.
    const bool root_may =
        f.nr == __NR_setresuid || f.nr == __NR_setresgid || f.nr == __NR_setgroups || f.nr == __NR_setfsuid;
    if (root_may) continue;
    EXPECT_TRUE(dies([&] { call(f.nr, f.a, f.b, f.c); }, kRootSupervisorFilter)) << f.what;
  }
  EXPECT_TRUE(dies([] { std::abort(); }));
}

// The effective ids of a thread may change in a session of root's, and nothing by which others may signal or limit it.
TEST_F(SupervisorFilterTest, RootsMayTakeEffectiveIds) {
  struct Change {
    const char* what;
    long nr;
    long a, b, c;
    bool allowed;
  };
  const Change list[] = {
      {"effective uid", __NR_setresuid, -1, 1, -1, true},
      {"real uid", __NR_setresuid, 1, -1, -1, false},
      {"saved uid", __NR_setresuid, -1, -1, 1, false},
      {"all uids", __NR_setresuid, 0, 0, 0, false},
      {"effective gid", __NR_setresgid, -1, 1, -1, true},
      {"real gid", __NR_setresgid, 1, -1, -1, false},
      {"saved gid", __NR_setresgid, -1, -1, 1, false},
      {"file system uid", __NR_setfsuid, 1, 0, 0, true},
      {"file system gid", __NR_setfsgid, 1, 0, 0, true},
      {"groups", __NR_setgroups, 0, 0, 0, true},
      {"setuid", __NR_setuid, 1, 0, 0, false},
      {"setreuid", __NR_setreuid, -1, 1, 0, false},
      {"setgid", __NR_setgid, 1, 0, 0, false},
      {"prctl PR_SET_KEEPCAPS", __NR_prctl, PR_SET_KEEPCAPS, 1, 0, true},
      {"prctl PR_SET_DUMPABLE 0", __NR_prctl, PR_SET_DUMPABLE, 0, 0, true},
      {"prctl PR_SET_DUMPABLE 1", __NR_prctl, PR_SET_DUMPABLE, 1, 0, false},
      {"prctl PR_SET_SECUREBITS", __NR_prctl, PR_SET_SECUREBITS, 0, 0, false},
  };
  for (const Change& c : list) {
    auto change = [&] { call(c.nr, c.a, c.b, c.c); };
    EXPECT_TRUE(c.allowed ? survives(change, kRootSupervisorFilter) : dies(change, kRootSupervisorFilter)) << c.what;
    EXPECT_TRUE(dies(change)) << c.what;
  }
}

#ifdef __x86_64__
TEST_F(SupervisorFilterTest, ForeignArchitectureKills) {
  auto i386_getpid = [] {
    long result = 0;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) _exit(1);
  };
  const pid_t pid = fork();
  if (pid == 0) {
    i386_getpid();
    _exit(kReturned);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != kReturned) GTEST_SKIP() << "this kernel runs no i386 calls";
  EXPECT_TRUE(dies(i386_getpid));
}
#endif

TEST_F(SupervisorFilterTest, AllowedCallsComeBack) {
  struct Allowed {
    const char* what;
    long nr;
    long a, b, c, d;
  };
  const Allowed list[] = {
      {"process_vm_readv", __NR_process_vm_readv, 0, 0, 0, 0},
      {"pidfd_getfd", __NR_pidfd_getfd, -1, 0, 0, 0},
      {"pidfd_send_signal", __NR_pidfd_send_signal, -1, 0, 0, 0},
      {"connect", __NR_connect, -1, 0, 0, 0},
      {"bind", __NR_bind, -1, 0, 0, 0},
      {"listen", __NR_listen, -1, 0, 0, 0},
      {"accept4", __NR_accept4, -1, 0, 0, 0},
      {"openat2", __NR_openat2, -1, 0, 0, 0},
      {"renameat2", __NR_renameat2, -1, 0, -1, 0},
      {"linkat", __NR_linkat, -1, 0, -1, 0},
      {"capset", __NR_capset, 0, 0, 0, 0},
      {"landlock_restrict_self", __NR_landlock_restrict_self, -1, 0, 0, 0},
      {"clone3", __NR_clone3, 0, 0, 0, 0},
      {"ioctl NOTIF_RECV", __NR_ioctl, -1, SECCOMP_IOCTL_NOTIF_RECV, 0, 0},
      {"ioctl NOTIF_SEND", __NR_ioctl, -1, SECCOMP_IOCTL_NOTIF_SEND, 0, 0},
      {"ioctl NOTIF_ID_VALID", __NR_ioctl, -1, SECCOMP_IOCTL_NOTIF_ID_VALID, 0, 0},
      {"ioctl NOTIF_ID_VALID, old", __NR_ioctl, -1, SECCOMP_IOR(2, __u64), 0, 0},
      {"ioctl NOTIF_ADDFD", __NR_ioctl, -1, SECCOMP_IOCTL_NOTIF_ADDFD, 0, 0},
      {"ioctl NOTIF_SET_FLAGS", __NR_ioctl, -1, static_cast<long>(SECCOMP_IOCTL_NOTIF_SET_FLAGS), 0, 0},
      {"fcntl F_DUPFD_CLOEXEC", __NR_fcntl, -1, F_DUPFD_CLOEXEC, 0, 0},
      {"fcntl F_SETFL O_NONBLOCK", __NR_fcntl, -1, F_SETFL, O_RDWR | O_NONBLOCK, 0},
      {"fcntl F_ADD_SEALS", __NR_fcntl, -1, F_ADD_SEALS, 0, 0},
      {"socket AF_UNIX", __NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0},
      {"symlinkat", __NR_symlinkat, 0, -1, 0, 0},
      {"dup3", __NR_dup3, -1, 5, 0, 0},
  };
  for (const Allowed& a : list) EXPECT_TRUE(survives([&] { call(a.nr, a.a, a.b, a.c, a.d); })) << a.what;
}

// What the C and C++ libraries do beneath ordinary code.
TEST_F(SupervisorFilterTest, OrdinaryCodeRuns) {
  EXPECT_TRUE(survives([] {
    std::vector<std::unique_ptr<std::string>> strings;
    for (size_t i = 0; i < 2000; ++i) strings.push_back(std::make_unique<std::string>(i * 97, 'x'));
  })) << "memory";
  EXPECT_TRUE(survives([] {
    std::atomic<int> count = 0;
    {
      std::thread first([&] {
        prctl(PR_SET_NAME, "worker");
        prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGKILL));
        ++count;
      });
      std::thread second([&] {
        if (change_to_root()) ++count;
      });
      first.join();
      second.join();
    }
    if (count != 2) _exit(1);
  })) << "threads";
  EXPECT_TRUE(survives([] {
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char buffer[64];
    pollfd waiting{fd, POLLIN, 0};
    if (read(fd, buffer, sizeof buffer) <= 0 || poll(&waiting, 1, 0) < 0 || close(fd) != 0) _exit(1);
  })) << "files";
  EXPECT_TRUE(survives([] {
    try {
      throw std::runtime_error("caught");
    } catch (const std::exception&) {
    }
  })) << "exceptions";
}

}  // namespace
}  // namespace wrapd::plan
