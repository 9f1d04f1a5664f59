// SPDX-License-Identifier: Apache-2.0

// Build-time program: writes the supervisor's own filter (supervisor_filter.h) as a C++ header to stdout.
// Usage: generate-supervisor-filter [--instrumented]

#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "kernel/uapi.h"

namespace {

using wrapd::read_all;
using wrapd::Result;
using wrapd::UniqueFd;

constexpr uint32_t kLow32 = 0xffffffff;

constexpr int kAllowed[] = {
    // Descriptors and what they hold.
    __NR_read,
    __NR_readv,
    __NR_write,
    __NR_writev,
    __NR_pread64,
    __NR_close,
    __NR_close_range,
    __NR_lseek,
    __NR_fstat,
    __NR_newfstatat,
    __NR_statx,
    __NR_fstatfs,
    __NR_getdents64,
    __NR_ftruncate,
    __NR_memfd_create,
    __NR_eventfd2,
    __NR_pipe2,
    __NR_signalfd4,
    // Names, as the caller.
    __NR_openat,
    __NR_openat2,
    __NR_readlinkat,
    __NR_renameat2,
    __NR_linkat,
    __NR_symlinkat,
    __NR_unlinkat,
    __NR_umask,
    __NR_fchdir,
    // Waiting.
    __NR_ppoll,
    __NR_epoll_create1,
    __NR_epoll_ctl,
    __NR_epoll_pwait,
    __NR_timerfd_create,
    __NR_timerfd_settime,
    __NR_nanosleep,
    __NR_clock_nanosleep,
    __NR_clock_gettime,
    __NR_clock_getres,
    __NR_gettimeofday,
    __NR_sched_yield,
    __NR_futex,
    // Sockets: the target's, the per-caller ones, the channels.
    __NR_recvmsg,
    __NR_recvfrom,
    __NR_sendmsg,
    __NR_sendto,
    __NR_connect,
    __NR_bind,
    __NR_listen,
    __NR_accept4,
    __NR_shutdown,
    __NR_getsockopt,
    __NR_getsockname,
    __NR_getpeername,
    // The target.
    __NR_process_vm_readv,
    __NR_pidfd_open,
    __NR_pidfd_getfd,
    __NR_pidfd_send_signal,
    // For throw-away processes that bind: a domain, and the target's descriptors under their numbers.
    __NR_dup3,
    __NR_wait4,
    __NR_landlock_create_ruleset,
    __NR_landlock_add_rule,
    __NR_landlock_restrict_self,
    // Memory, threads, signals, identity.
    __NR_munmap,
    __NR_mremap,
    __NR_madvise,
    __NR_brk,
    __NR_set_robust_list,
    __NR_rseq,
    __NR_sigaltstack,
    __NR_rt_sigaction,
    __NR_rt_sigprocmask,
    __NR_rt_sigreturn,
    __NR_rt_sigtimedwait,
    __NR_restart_syscall,
    __NR_exit,
    __NR_exit_group,
    __NR_getrandom,
    __NR_gettid,
    __NR_getpid,
    __NR_getuid,
    __NR_geteuid,
    __NR_getgid,
    __NR_getegid,
    __NR_getresuid,
    __NR_getresgid,
    __NR_sched_getaffinity,
    __NR_capget,
    __NR_capset,
#ifdef __x86_64__
    __NR_poll,
    __NR_epoll_wait,
    __NR_readlink,
#endif
};

class Generator {
 public:
  Generator() {
    // Set, not detected: what the machine that builds can do does not matter.
    note(seccomp_api_set(6));
    context_ = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (context_ == nullptr) {
      note(-ENOMEM);
      return;
    }
    note(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    note(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2));
  }
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;
  ~Generator() { seccomp_release(context_); }

  void allow(int nr) { rule(SCMP_ACT_ALLOW, nr, {}); }
  void allow_if(int nr, unsigned argument, uint64_t mask, uint64_t value) {
    rule(SCMP_ACT_ALLOW, nr, {{argument, SCMP_CMP_MASKED_EQ, mask, value}});
  }
  void allow_if(int nr, std::initializer_list<scmp_arg_cmp> arguments) { rule(SCMP_ACT_ALLOW, nr, arguments); }
  void refuse(int nr, uint32_t error) { rule(SCMP_ACT_ERRNO(error), nr, {}); }

  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] bool export_to(int fd) {
    note(seccomp_export_bpf(context_, fd));
    return error_ == 0;
  }

 private:
  void rule(uint32_t action, int nr, std::initializer_list<scmp_arg_cmp> arguments) {
    if (error_ == 0)
      note(seccomp_rule_add_array(context_, action, nr, static_cast<unsigned>(arguments.size()), arguments.begin()));
  }
  void note(int code) {
    if (error_ == 0) error_ = code;
  }
  scmp_filter_ctx context_ = nullptr;
  int error_ = 0;
};

// A thread of a root session's supervisor that takes the credentials of the task it acts for: never the real and saved
// ids, by which other processes may signal and limit it.
void add_rules_for_others(Generator& filter) {
  for (int nr : {__NR_setresuid, __NR_setresgid}) {
    filter.allow_if(nr, {{0, SCMP_CMP_MASKED_EQ, kLow32, kLow32}, {2, SCMP_CMP_MASKED_EQ, kLow32, kLow32}});
  }
  for (int nr : {__NR_setfsuid, __NR_setfsgid, __NR_setgroups, __NR_getgroups}) filter.allow(nr);
  filter.allow_if(__NR_prctl, 0, kLow32, PR_SET_KEEPCAPS);
  filter.allow_if(__NR_prctl, {{0, SCMP_CMP_MASKED_EQ, kLow32, PR_SET_DUMPABLE}, {1, SCMP_CMP_EQ, 0, 0}});
}

void add_rules(Generator& filter) {
  for (int nr : kAllowed) filter.allow(nr);

  const uint64_t id_valid = SECCOMP_IOCTL_NOTIF_ID_VALID;
  const uint64_t id_valid_before_5_17 = SECCOMP_IOR(2, __u64);
  for (uint64_t request :
       {uint64_t{SECCOMP_IOCTL_NOTIF_RECV}, uint64_t{SECCOMP_IOCTL_NOTIF_SEND}, id_valid, id_valid_before_5_17,
        uint64_t{SECCOMP_IOCTL_NOTIF_ADDFD}, uint64_t{SECCOMP_IOCTL_NOTIF_SET_FLAGS}})
    filter.allow_if(__NR_ioctl, 1, kLow32, request);

  // Not F_SETOWN and F_SETSIG: they send signals. F_SETFL for O_NONBLOCK of the hand-off sockets alone.
  for (int command : {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC, F_GET_SEALS, F_ADD_SEALS})
    filter.allow_if(__NR_fcntl, 1, kLow32, static_cast<uint32_t>(command));
  constexpr uint64_t other_flags = kLow32 & ~static_cast<uint64_t>(O_ACCMODE | O_NONBLOCK);
  filter.allow_if(__NR_fcntl, {{1, SCMP_CMP_MASKED_EQ, kLow32, F_SETFL}, {2, SCMP_CMP_MASKED_EQ, other_flags, 0}});

  // Interrupts our own threads. Whom else it reached, it would do nothing to that pidfd_send_signal(2) could not.
  filter.allow_if(__NR_tgkill, 2, kLow32, SIGURG);

  filter.allow_if(__NR_socket, 0, kLow32, AF_UNIX);  // the journal's, again after a restart
  filter.allow_if(__NR_prctl, 0, kLow32, PR_SET_NAME);
  // Of a process that binds, which is to end with us.
  filter.allow_if(__NR_prctl, {{0, SCMP_CMP_MASKED_EQ, kLow32, PR_SET_PDEATHSIG}, {1, SCMP_CMP_EQ, SIGKILL, 0}});
  filter.allow_if(__NR_mmap, 2, PROT_EXEC, 0);
  filter.allow_if(__NR_mprotect, 2, PROT_EXEC, 0);

  constexpr uint64_t thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
  constexpr uint64_t never = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                             CLONE_NEWCGROUP | CLONE_PTRACE | CLONE_PIDFD;
  filter.allow_if(__NR_clone, 0, thread | never, thread);
  // As vfork(2): a process that binds by "/proc/self/...", under this filter too.
  filter.allow_if(__NR_clone, 0, UINT64_MAX, CLONE_VM | CLONE_VFORK);
  filter.refuse(__NR_clone3, ENOSYS);
}

bool print_program(const char* name, Generator& filter) {
  UniqueFd file(memfd_create("filter", MFD_CLOEXEC));
  if (!file || !filter.export_to(file.get()) || lseek(file.get(), 0, SEEK_SET) < 0) {
    std::fprintf(stderr, "generate-supervisor-filter: %s\n",
                 std::strerror(filter.error() != 0 ? -filter.error() : errno));
    return false;
  }
  Result<std::string> bytes = read_all(file.get(), BPF_MAXINSNS * sizeof(sock_filter));
  if (!bytes) {
    std::fprintf(stderr, "generate-supervisor-filter: %s\n", bytes.error().message.c_str());
    return false;
  }
  std::vector<sock_filter> program(bytes->size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes->data(), program.size() * sizeof(sock_filter));
  std::printf("inline constexpr sock_filter %s[] = {\n", name);
  for (const sock_filter& i : program) std::printf("    {0x%04x, %u, %u, 0x%08x},\n", i.code, i.jt, i.jf, i.k);
  std::printf("};\n\n");
  return true;
}

int generate(bool instrumented) {
  std::printf("// SPDX-License-Identifier: Apache-2.0\n// Made by generate_supervisor_filter.cc.\n#pragma once\n\n");
  std::printf("#include <linux/filter.h>\n\nnamespace wrapd::plan {\n\n");
  std::printf("inline constexpr bool kSupervisorFilterApplies = %s;\n\n", instrumented ? "false" : "true");
  Generator users;
  add_rules(users);
  Generator roots;
  add_rules(roots);
  add_rules_for_others(roots);
  if (!print_program("kSupervisorFilter", users) || !print_program("kRootSupervisorFilter", roots)) return 1;
  std::printf("}  // namespace wrapd::plan\n");
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return generate(argc > 1 && std::strcmp(argv[1], "--instrumented") == 0);
}
