// SPDX-License-Identifier: Apache-2.0

// Makes every call that docs/filter.md lists, under the filter and without it, in a process of its own each time: as a
// native call, as an i386 call by int 0x80, and with the bit of the x32 numbers. The arguments are such that the kernel
// refuses them for another reason than the filter, so that nothing happens to the machine where the filter is missing.

#include <asm/ioctls.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "kernel/uapi.h"
#include "plan/plan.h"
#include "plan/syscalls.h"

namespace wrapd::plan {
namespace {

enum class Entry { native, ia32, x32 };
constexpr uint64_t kMinus1 = ~uint64_t{0};
constexpr uint64_t kGarbage = uint64_t{0x5a5a5a5a} << 32;
constexpr int kSupervisorsAnswer = EKEYREJECTED;  // no call here answers it by itself
constexpr long kX32Bit = 0x40000000;
using Args = std::array<uint64_t, 6>;

struct Case {
  const char* id;  // as docs/filter.md writes it
  int error;       // 0: brought to the supervisor
  long nr;
  long ia32;  // the i386 number, -1: there is none
  Args args = {};
};

uint64_t address(const void* p) {
  return reinterpret_cast<uint64_t>(p);
}
constexpr int kNone = -1;
constexpr uint64_t kParent = 1;  // a process that is not the caller, and exists
const rlimit64 kCoreLimit = {0, 0};
const char kMissing[] = "/nonexistent/name";
uint64_t missing() {
  return address(kMissing);
}

std::vector<Case> cases() {
  const uint64_t stop = kMinus1;
  std::vector<Case> list = {
      {"io_uring_setup", ENOSYS, __NR_io_uring_setup, 425, {0, 0}},
      {"io_uring_enter", ENOSYS, __NR_io_uring_enter, 426, {stop}},
      {"io_uring_register", ENOSYS, __NR_io_uring_register, 427, {stop, stop}},
      {"clone3", ENOSYS, __NR_clone3, 435, {0, 0}},
      {"ptrace", EPERM, __NR_ptrace, 26, {2, 0}},
      {"process_vm_readv", EPERM, __NR_process_vm_readv, 347, {stop, 0, 0, 0, 0, 1}},
      {"process_vm_writev", EPERM, __NR_process_vm_writev, 348, {stop, 0, 0, 0, 0, 1}},
      {"process_madvise", EPERM, __NR_process_madvise, 440, {stop}},
      {"pidfd_getfd", EPERM, __NR_pidfd_getfd, 438, {stop}},
      {"kcmp", EPERM, __NR_kcmp, 349, {0, 0, stop}},
      {"perf_event_open", EPERM, __NR_perf_event_open, 336, {0}},
      {"bpf", EPERM, __NR_bpf, 357, {stop, 0, 0}},
      {"userfaultfd", EPERM, __NR_userfaultfd, 374, {stop}},
      {"fanotify_init", EPERM, __NR_fanotify_init, 338, {stop}},
      {"fanotify_mark", EPERM, __NR_fanotify_mark, 339, {stop}},
      {"add_key", EPERM, __NR_add_key, 286, {0}},
      {"request_key", EPERM, __NR_request_key, 287, {0}},
      {"keyctl", EPERM, __NR_keyctl, 288, {9999}},
      {"mount", EPERM, __NR_mount, 21, {0, 0, 0, 0, 0}},
      {"umount2", EPERM, __NR_umount2, 52, {0, stop}},
      {"pivot_root", EPERM, __NR_pivot_root, 217, {0, 0}},
      {"chroot", EPERM, __NR_chroot, 61, {0}},
      {"setns", EPERM, __NR_setns, 346, {stop}},
      {"open_tree", EPERM, __NR_open_tree, 428, {stop, 0, stop}},
      {"open_tree_attr", EPERM, __NR_open_tree_attr, 467, {stop, 0, stop}},
      {"move_mount", EPERM, __NR_move_mount, 429, {stop, 0, stop, 0, stop}},
      {"fsopen", EPERM, __NR_fsopen, 430, {0, stop}},
      {"fsconfig", EPERM, __NR_fsconfig, 431, {stop, stop}},
      {"fsmount", EPERM, __NR_fsmount, 432, {stop, stop}},
      {"fspick", EPERM, __NR_fspick, 433, {stop, 0, stop}},
      {"mount_setattr", EPERM, __NR_mount_setattr, 442, {stop, 0, stop}},
      {"open_by_handle_at", EPERM, __NR_open_by_handle_at, 342, {stop, 0, 0}},
      {"kexec_load", EPERM, __NR_kexec_load, 283, {0, 0, 0, 0xffff}},
      {"kexec_file_load", EPERM, __NR_kexec_file_load, kNone, {stop, stop, 0, 0, stop}},
      {"init_module", EPERM, __NR_init_module, 128, {0, 0, 0}},
      {"finit_module", EPERM, __NR_finit_module, 350, {stop, 0, stop}},
      {"delete_module", EPERM, __NR_delete_module, 129, {0, 0}},
      {"acct", EPERM, __NR_acct, 51, {1}},
      {"swapon", EPERM, __NR_swapon, 87, {0, stop}},
      {"swapoff", EPERM, __NR_swapoff, 115, {0}},
      {"reboot", EPERM, __NR_reboot, 88, {0, 0, 0}},
      {"quotactl", EPERM, __NR_quotactl, 131, {stop, 0}},
      {"quotactl_fd", EPERM, __NR_quotactl_fd, 443, {stop, stop}},
      {"vhangup", EPERM, __NR_vhangup, 111},  // of a process without a terminal
      {"lookup_dcookie", EPERM, __NR_lookup_dcookie, 253, {0, 0, 0}},
      {"nfsservctl", EPERM, __NR_nfsservctl, 169},
      {"syslog", EPERM, __NR_syslog, 103, {10}},
      {"clone(CLONE_NEWUSER)", EPERM, __NR_clone, 120, {CLONE_NEWUSER | SIGCHLD}},
      {"clone(CLONE_NEWUSER)", EPERM, __NR_clone, kNone, {kGarbage | CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD}},
      {"clone(CLONE_NEWNS)", EPERM, __NR_clone, 120, {CLONE_NEWNS | SIGCHLD}},
      {"unshare(CLONE_NEWUSER)", EPERM, __NR_unshare, 310, {CLONE_NEWUSER}},
      {"unshare(CLONE_NEWUSER)", EPERM, __NR_unshare, kNone, {CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET}},
      {"unshare(CLONE_NEWNS)", EPERM, __NR_unshare, 310, {CLONE_NEWNS}},
      {"unshare(CLONE_NEWNS)", EPERM, __NR_unshare, kNone, {CLONE_NEWNS | CLONE_FILES | CLONE_FS}},
      {"ioctl(TIOCSTI)", EPERM, __NR_ioctl, 54, {stop, TIOCSTI}},
      {"ioctl(TIOCSTI)", EPERM, __NR_ioctl, kNone, {stop, kGarbage | TIOCSTI}},
      {"ioctl(TIOCSTI)", EPERM, __NR_ioctl, kNone, {stop, 0x100005412}},
      {"ioctl(TIOCLINUX)", EPERM, __NR_ioctl, 54, {stop, TIOCLINUX}},
      {"ioctl(TIOCLINUX)", EPERM, __NR_ioctl, kNone, {stop, kGarbage | TIOCLINUX}},
      {"ioctl(TIOCSETD)", EPERM, __NR_ioctl, 54, {stop, TIOCSETD}},
      {"ioctl(TIOCSETD)", EPERM, __NR_ioctl, kNone, {stop, kGarbage | TIOCSETD}},
      {"ioctl(SECCOMP_IOCTL_NOTIF_SEND)", EPERM, __NR_ioctl, 54, {stop, SECCOMP_IOCTL_NOTIF_SEND}},
      {"ioctl(SECCOMP_IOCTL_NOTIF_SEND)", EPERM, __NR_ioctl, kNone, {stop, kGarbage | SECCOMP_IOCTL_NOTIF_SEND}},
      {"ioctl(SECCOMP_IOCTL_NOTIF_SEND)", EPERM, __NR_ioctl, kNone, {stop, SECCOMP_IOCTL_NOTIF_RECV}},
      {"ioctl(SECCOMP_IOCTL_NOTIF_SEND)", EPERM, __NR_ioctl, kNone, {stop, SECCOMP_IOCTL_NOTIF_ADDFD}},
      {"seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)", EBUSY, __NR_seccomp, 354, {1, 8, 0}},
      {"seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)", EBUSY, __NR_seccomp, kNone, {1, 8 | 1 | 2 | 4 | 16 | 32, 0}},
      {"seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)", EBUSY, __NR_seccomp, kNone, {kGarbage | 1, kGarbage | 8, 0}},
      {"prlimit64", EPERM, __NR_prlimit64, 340, {kParent, RLIMIT_CORE, 4096}},
      {"prlimit64", EPERM, __NR_prlimit64, kNone, {kGarbage | kParent, RLIMIT_CORE, 4096}},
      {"prlimit64", EPERM, __NR_prlimit64, kNone, {stop, RLIMIT_CORE, uint64_t{1} << 32}},
      {"sched_setaffinity", EPERM, __NR_sched_setaffinity, 241, {kParent, 8, 0}},
      {"sched_setaffinity", EPERM, __NR_sched_setaffinity, kNone, {kGarbage | kParent, 8, 0}},
      {"sched_setscheduler", EPERM, __NR_sched_setscheduler, 156, {kParent, 0, 0}},
      {"sched_setparam", EPERM, __NR_sched_setparam, 154, {kParent, 0}},
      {"sched_setattr", EPERM, __NR_sched_setattr, 351, {kParent, 0, 0}},
      {"setpriority", EPERM, __NR_setpriority, 97, {PRIO_PROCESS, 0x7ffffff0, 19}},
      {"setpriority", EPERM, __NR_setpriority, kNone, {PRIO_PGRP, 0x7ffffff0, 19}},
      {"setpriority", EPERM, __NR_setpriority, kNone, {PRIO_USER, 0x7ffffff0, 19}},
      {"setpriority", EPERM, __NR_setpriority, kNone, {kGarbage | PRIO_PROCESS, kGarbage | 0x7ffffff0, 19}},
      {"ioprio_set", EPERM, __NR_ioprio_set, 289, {kIoPriorityProcess, 0x7ffffff0, 0}},
      {"setpriority",
       EPERM,
       __NR_setpriority,
       kNone,
       {PRIO_PGRP, 0, 19}},  // of this process alone, once it has a session
      {"ioprio_set", EPERM, __NR_ioprio_set, kNone, {kIoPriorityGroup, 0x7ffffff0, 0}},
      {"ioprio_set", EPERM, __NR_ioprio_set, kNone, {kIoPriorityGroup, 0, 0xffff}},
      {"ioprio_set", EPERM, __NR_ioprio_set, kNone, {kIoPriorityUser, 0, 0xffff}},
      {"migrate_pages", EPERM, __NR_migrate_pages, 294, {0x7ffffff0, 0, 0, 0}},
      {"move_pages", EPERM, __NR_move_pages, 317, {0x7ffffff0, 0, 0, 0, 0, 0}},
      {"get_robust_list", EPERM, __NR_get_robust_list, 312, {0x7ffffff0, 0, 0}},
      {"socket(AF_VSOCK)", EACCES, __NR_socket, 359, {AF_VSOCK, SOCK_STREAM, 0}},
      {"socket(AF_VSOCK)", EACCES, __NR_socket, kNone, {kGarbage | AF_VSOCK, SOCK_STREAM, 0}},
      {"socket(AF_VSOCK)", EACCES, __NR_socket, kNone, {kMinus1, SOCK_STREAM, 0}},
      {"socket(AF_NETLINK, NETLINK_AUDIT)", EPROTONOSUPPORT, __NR_socket, 359, {AF_NETLINK, SOCK_RAW, NETLINK_AUDIT}},
      {"socket(AF_NETLINK, NETLINK_AUDIT)",
       EPROTONOSUPPORT,
       __NR_socket,
       kNone,
       {kGarbage | AF_NETLINK, SOCK_DGRAM, kGarbage | NETLINK_KOBJECT_UEVENT}},
      {"socket(AF_INET, SOCK_PACKET)", EACCES, __NR_socket, 359, {AF_INET, SOCK_PACKET, 0}},
      {"socket(AF_INET, SOCK_PACKET)", EACCES, __NR_socket, kNone, {AF_INET, SOCK_PACKET | SOCK_CLOEXEC, 0x300}},
      {"socketpair(AF_TIPC)", EACCES, __NR_socketpair, 360, {AF_TIPC, SOCK_STREAM, 0, 0}},
      {"socketpair(AF_TIPC)", EACCES, __NR_socketpair, kNone, {AF_INET, SOCK_STREAM, 0, 0}},
      {"socketpair(AF_TIPC)", EACCES, __NR_socketpair, kNone, {kGarbage | AF_NETLINK, SOCK_RAW, 0, 0}},
      {"connect", 0, __NR_connect, 362, {stop}},
      {"bind", 0, __NR_bind, 361, {stop}},
      {"listen", 0, __NR_listen, 363, {stop}},
      {"socket(AF_UNIX, SOCK_DGRAM)", 0, __NR_socket, 359, {AF_UNIX, SOCK_DGRAM, 0}},
      {"socket(AF_UNIX, SOCK_DGRAM)", 0, __NR_socket, kNone, {AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0}},
      {"socket(AF_UNIX, SOCK_DGRAM)", 0, __NR_socket, kNone, {AF_UNIX, SOCK_RAW, 0}},
      {"socket(AF_UNIX, SOCK_DGRAM)", 0, __NR_socket, kNone, {kGarbage | AF_UNIX, kGarbage | SOCK_DGRAM, 0}},
      {"socketpair(AF_UNIX, SOCK_DGRAM)", 0, __NR_socketpair, 360, {AF_UNIX, SOCK_DGRAM, 0, 0}},
      {"socketpair(AF_UNIX, SOCK_DGRAM)", 0, __NR_socketpair, kNone, {AF_UNIX, SOCK_RAW | SOCK_CLOEXEC, 0, 0}},
      {"socketpair(AF_UNIX, SOCK_DGRAM)", 0, __NR_socketpair, kNone, {kGarbage | AF_UNIX, kGarbage | SOCK_DGRAM}},
      {"renameat", 0, __NR_renameat, 302, {stop, missing(), stop, missing()}},
      {"renameat2", 0, __NR_renameat2, 353, {stop, missing(), stop, missing(), 0}},
      {"linkat", 0, __NR_linkat, 303, {stop, missing(), stop, missing(), 0}},
      {"symlinkat", 0, __NR_symlinkat, 304, {missing(), stop, missing()}},
#ifdef __x86_64__
      {"rename", 0, __NR_rename, 38, {missing(), missing()}},
      {"link", 0, __NR_link, 9, {missing(), missing()}},
      {"symlink", 0, __NR_symlink, 83, {missing(), missing()}},
      {"iopl", EPERM, __NR_iopl, 110, {99}},
      {"ioperm", EPERM, __NR_ioperm, 101, {stop, stop}},
      {"modify_ldt", EPERM, __NR_modify_ldt, 123, {0, 0, 0}},
      {"uselib", EPERM, __NR_uselib, 86, {0}},
#endif
  };
  return list;
}

// Calls next to the refused ones that have to work: the same answer with the filter as without it.
std::vector<Case> permitted() {
  return {
      {"AF_UNIX stream", 0, __NR_socket, kNone, {AF_UNIX, SOCK_STREAM, 0}},
      {"AF_UNIX seqpacket", 0, __NR_socket, kNone, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0}},
      {"AF_UNIX with garbage", 0, __NR_socket, kNone, {kGarbage | AF_UNIX, kGarbage | SOCK_STREAM, 0}},
      {"AF_INET datagram", 0, __NR_socket, kNone, {AF_INET, SOCK_DGRAM, 0}},
      {"AF_INET6", 0, __NR_socket, kNone, {AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0}},
      {"netlink route", 0, __NR_socket, kNone, {AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}},
      {"netlink route with garbage", 0, __NR_socket, kNone, {AF_NETLINK, SOCK_RAW, kGarbage}},
      {"socketpair", 0, __NR_socketpair, kNone, {AF_UNIX, SOCK_STREAM, 0, 0}},
      {"fork", 0, __NR_clone, kNone, {SIGCHLD}},
      {"unshare files", 0, __NR_unshare, kNone, {CLONE_FILES | CLONE_FS}},
      {"read limits of another", 0, __NR_prlimit64, kNone, {kParent, RLIMIT_CORE, 0, 0}},
      {"own limit", 0, __NR_prlimit64, kNone, {0, RLIMIT_CORE, address(&kCoreLimit), 0}},
      {"own limit with garbage", 0, __NR_prlimit64, kNone, {kGarbage, RLIMIT_CORE, address(&kCoreLimit), 0}},
      {"own affinity", 0, __NR_sched_setaffinity, kNone, {kGarbage, 8, 0}},
      {"own priority", 0, __NR_setpriority, kNone, {PRIO_PROCESS, kGarbage, 19}},
      {"own io priority", 0, __NR_ioprio_set, kNone, {kIoPriorityProcess, 0, 0xffff}},
      {"own pages", 0, __NR_move_pages, kNone, {0, 0, 0, 0, 0, 0}},
      {"own robust list", 0, __NR_get_robust_list, kNone, {0, 0, 0}},
      {"filter without listener", 0, __NR_seccomp, kNone, {1, 0, 0}},
      {"listener sizes", 0, __NR_seccomp, kNone, {3, 0, 0}},
      {"personality", 0, __NR_personality, kNone, {0xffffffff}},
      {"terminal size", 0, __NR_ioctl, kNone, {kMinus1, TIOCGWINSZ}},
      {"pidfd_open", 0, __NR_pidfd_open, kNone, {kParent, 0}},
      {"cachestat, 451", 0, 451, kNone, {kMinus1, 0, 0, 0}},
      {"file_setattr, 469", 0, 469, kNone, {kMinus1, 0, 0, 0, kMinus1}},
  };
}

long call(Entry entry, const Case& c) {
  const Args& a = c.args;
  if (entry == Entry::ia32) {
#ifdef __x86_64__
    long result = 0;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(c.ia32), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "memory", "r8", "r9", "r10", "r11");
    return static_cast<int>(result);
#else
    return -ENOSYS;
#endif
  }
  const long nr = entry == Entry::x32 ? c.nr | kX32Bit : c.nr;
  const long result = ::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  return result == -1 ? -errno : result;
}

// What the child leaves behind, in memory that both see.
struct Shared {
  bool called = false;
  long result = 0;
};

struct Outcome {
  bool called = false;    // it came back from the call
  long result = 0;        // negative errno
  int notifications = 0;  // that carried the call's number and arguments
  int strangers = 0;      // that did not
  int wait_status = 0;
};

bool send_descriptor(int socket, int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return sendmsg(socket, &message, 0) == 1;
}

UniqueFd receive_descriptor(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return {};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  int fd = -1;
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

// Lies below the filter and answers this call with EXDEV, where the filter lets it pass: the kernel's own ENOSYS cannot
// be taken for the filter's.
std::vector<sock_filter> below(uint32_t nr) {
  return {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
}

[[noreturn]] void child(const std::vector<sock_filter>* filter, Entry entry, const Case& c, int socket, Shared* shared,
                        std::vector<sock_filter> lowest) {
  if (setsid() < 0) _exit(100);
  const pid_t self = getpid();
  if (!lowest.empty()) {
    const sock_fprog program{static_cast<unsigned short>(lowest.size()), lowest.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(103);
    if (::syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) _exit(104);
  }
  if (filter != nullptr) {
    std::vector<sock_filter> code = *filter;
    sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(101);
    const long listener =
        ::syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
                  SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (listener < 0 || !send_descriptor(socket, static_cast<int>(listener))) _exit(102);
    close(static_cast<int>(listener));
  }
  close(socket);
  const long result = call(entry, c);
  if (::syscall(__NR_getpid) != self) _exit(0);  // a process that the call made
  shared->result = result;
  shared->called = true;
  _exit(0);
}

void answer(int listener, const Case& c, Outcome& outcome) {
  seccomp_notif notification{};
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) {
    EXPECT_EQ(errno, ENOENT);
    return;
  }
  const bool expected = notification.data.nr == c.nr && std::ranges::equal(c.args, notification.data.args);
  ++(expected ? outcome.notifications : outcome.strangers);
  seccomp_notif_resp response{};
  response.id = notification.id;
  response.error = -kSupervisorsAnswer;
  EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response), 0) << strerror(errno);
}

// Makes the call in a new process, under `filter` if there is one (and over `lowest`), and answers what is brought to
// us.
Outcome run(const std::vector<sock_filter>* filter, Entry entry, const Case& c,
            const std::vector<sock_filter>& lowest = {}) {
  Outcome outcome;
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  std::array<int, 2> pair{};
  if (memory == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    ADD_FAILURE() << strerror(errno);
    return outcome;
  }
  auto* shared = new (memory) Shared;
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    ours.reset();
    child(filter, entry, c, theirs.get(), shared, lowest);
  }
  theirs.reset();
  UniqueFd listener;
  if (filter != nullptr) listener = receive_descriptor(ours.get());
  UniqueFd process(static_cast<int>(::syscall(__NR_pidfd_open, pid, 0)));
  EXPECT_TRUE(process.valid());
  std::array<pollfd, 2> waits{pollfd{process.get(), POLLIN, 0}, pollfd{listener.get(), POLLIN, 0}};
  while (waits[0].revents == 0) {
    if (poll(waits.data(), waits.size(), 30000) <= 0) {
      ADD_FAILURE() << c.id << ": hangs";
      kill(pid, SIGKILL);
      break;
    }
    if ((waits[1].revents & POLLIN) != 0) {
      answer(listener.get(), c, outcome);
    } else if (waits[1].revents != 0) {
      waits[1].fd = -1;
    }
  }
  EXPECT_EQ(waitpid(pid, &outcome.wait_status, 0), pid);
  outcome.called = shared->called;
  outcome.result = shared->result;
  munmap(memory, sizeof(Shared));
  return outcome;
}

class FilterTest : public testing::Test {
 protected:
  void SetUp() override {
    for (unsigned number = 0; number < TrapSet::kSets; ++number) {
      const TrapSet traps = TrapSet::numbered(number);
      filters_.push_back({traps, compile_filter(traps)});
    }
  }
  struct Compiled {
    TrapSet traps;
    std::vector<sock_filter> filter;
  };
  [[nodiscard]] const std::vector<sock_filter>& smallest() const { return filters_.front().filter; }
  [[nodiscard]] const std::vector<sock_filter>& largest() const { return filters_.back().filter; }
  std::vector<Compiled> filters_;
};

TrapGroup group_of(const Case& c) {
  if (c.nr == __NR_connect || c.nr == __NR_bind || c.nr == __NR_listen) return TrapGroup::sockets;
  return c.nr == __NR_socket || c.nr == __NR_socketpair ? TrapGroup::socket_creation : TrapGroup::rename_link;
}

std::string name(const Case& c) {
  std::string text = std::string(c.id) + " (" + std::to_string(c.nr);
  for (uint64_t argument : c.args) text += ", " + std::to_string(argument);
  return text + ")";
}

TEST_F(FilterTest, AnswersNatively) {
  int shown = 0;
  int same = 0;
  for (const Case& c : cases()) {
    SCOPED_TRACE(name(c));
    const Outcome without = run(nullptr, Entry::native, c);
    ASSERT_TRUE(without.called);
    for (const Compiled& f : filters_) {
      SCOPED_TRACE(testing::Message() << "trap set " << f.traps.number());
      const Outcome with = run(&f.filter, Entry::native, c);
      ASSERT_TRUE(with.called) << "wait status " << with.wait_status;
      EXPECT_EQ(with.strangers, 0);
      const bool trapped = c.error == 0 && f.traps.has(group_of(c));
      EXPECT_EQ(with.notifications, trapped ? 1 : 0);
      if (trapped) {
        EXPECT_EQ(with.result, -kSupervisorsAnswer);
      } else if (c.error == 0) {
        EXPECT_EQ(with.result < 0, without.result < 0);
        if (with.result < 0) {
          EXPECT_EQ(with.result, without.result);
        }
      } else {
        EXPECT_EQ(with.result, -c.error);
      }
    }
    const long answer = c.error == 0 ? -kSupervisorsAnswer : -c.error;
    (without.result == answer ? same : shown)++;
    if (without.result == answer) std::printf("without the filter as well: %s\n", name(c).c_str());
  }
  RecordProperty("shown", shown);
  RecordProperty("same_without", same);
  std::printf("%d calls answer otherwise without the filter, %d do not\n", shown, same);
  // Without privileges the kernel refuses much of the list for its own reasons.
  if (geteuid() == 0) {
    EXPECT_GT(shown, 9 * same);
  }
}

TEST_F(FilterTest, ForeignArchitectureIsRefused) {
#ifndef __x86_64__
  GTEST_SKIP() << "int 0x80 is of x86";
#endif
  const Case getpid_call{"getpid", 0, __NR_getpid, 20};
  const Outcome probe = run(nullptr, Entry::ia32, getpid_call);
  if (!probe.called || probe.result <= 0) GTEST_SKIP() << "this kernel runs no i386 calls: 1 entry path not tested";
  EXPECT_EQ(run(&smallest(), Entry::ia32, getpid_call).result, -ENOSYS);
  int shown = 0;
  for (const Case& c : cases()) {
    if (c.ia32 == kNone) continue;
    SCOPED_TRACE(name(c));
    const Outcome with = run(&largest(), Entry::ia32, c);
    ASSERT_TRUE(with.called);
    EXPECT_EQ(with.result, -ENOSYS);
    EXPECT_EQ(with.notifications + with.strangers, 0);
    if (run(nullptr, Entry::ia32, c).result != -ENOSYS) ++shown;
  }
  EXPECT_GT(shown, 50);
}

TEST_F(FilterTest, X32IsRefused) {
#ifndef __x86_64__
  GTEST_SKIP() << "x32 is of x86";
#endif
  for (const Case& c : cases()) {
    SCOPED_TRACE(name(c));
    const auto lowest = below(static_cast<uint32_t>(c.nr | kX32Bit));
    EXPECT_EQ(run(nullptr, Entry::x32, c, lowest).result, -EXDEV);
    const Outcome with = run(&largest(), Entry::x32, c, lowest);
    ASSERT_TRUE(with.called);
    EXPECT_EQ(with.result, -ENOSYS);
    EXPECT_EQ(with.notifications + with.strangers, 0);
  }
}

TEST_F(FilterTest, UnreviewedNumbersAreRefused) {
  std::vector<uint32_t> numbers = {kUnknownFrom, kUnknownFrom + 1, 511,       512, 520, 547, 548,
                                   4096,         0x3fffffff,       0xffffffff};
  for (uint32_t nr = kHoleFrom; nr < kHoleEnd; nr += 43) numbers.push_back(nr);
  numbers.push_back(kHoleEnd - 1);
  for (uint32_t nr : numbers) {
    const Case unreviewed{"unreviewed", 0, static_cast<int>(nr), kNone};
    EXPECT_EQ(run(nullptr, Entry::native, unreviewed, below(nr)).result, -EXDEV) << nr;
    const Outcome with = run(&largest(), Entry::native, unreviewed, below(nr));
    ASSERT_TRUE(with.called);
    EXPECT_EQ(with.result, -ENOSYS) << nr;
  }
}

TEST_F(FilterTest, LeavesTheRestAlone) {
  for (const Case& c : permitted()) {
    SCOPED_TRACE(name(c));
    const Outcome without = run(nullptr, Entry::native, c);
    const Outcome with = run(&largest(), Entry::native, c);
    ASSERT_TRUE(with.called);
    EXPECT_EQ(with.notifications + with.strangers, 0);
    EXPECT_EQ(with.result < 0, without.result < 0) << with.result << ", without the filter " << without.result;
    if (without.result < 0) {
      EXPECT_EQ(with.result, without.result);
    }
  }
}

// docs/filter.md, first three and fifth table: what is between backquotes in the first column, and the answer.
std::map<std::string, std::string> documented() {
  std::map<std::string, std::string> answers;
  std::ifstream file(std::string(WRAPD_SOURCE_ROOT) + "/docs/filter.md");
  EXPECT_TRUE(file.is_open());
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## Looked at and allowed")) break;
    if (!line.starts_with("| `")) continue;
    const size_t second = line.find(" | ");
    const size_t third = line.find(" | ", second + 3);
    const std::string calls = line.substr(0, second);
    for (size_t open = calls.find('`'); open != std::string::npos;) {
      const size_t close = calls.find('`', open + 1);
      answers[calls.substr(open + 1, close - open - 1)] = line.substr(second + 3, third - second - 3);
      open = calls.find('`', close + 1);
    }
  }
  return answers;
}

TEST(FilterDocumentTest, ListsWhatIsTested) {
  const std::map<int, std::string> words = {{0, "notify"},    {ENOSYS, "ENOSYS"},
                                            {EPERM, "EPERM"}, {EACCES, "EACCES"},
                                            {EBUSY, "EBUSY"}, {EPROTONOSUPPORT, "EPROTONOSUPPORT"}};
  std::map<std::string, std::string> tested = {
      {"another architecture", "ENOSYS"}, {"x32", "ENOSYS"}, {"unreviewed number", "ENOSYS"}};
  for (const Case& c : cases()) tested[c.id] = words.at(c.error);
#ifdef __x86_64__
  EXPECT_EQ(documented(), tested);
#else
  const auto listed = documented();
  EXPECT_TRUE(std::ranges::includes(listed, tested));
#endif
  std::set<long> numbers;
  for (const Case& c : cases()) numbers.insert(c.nr);
  for (const Refusal& refusal : kRefusals) EXPECT_TRUE(numbers.contains(refusal.nr)) << refusal.nr;
}

}  // namespace
}  // namespace wrapd::plan
