// SPDX-License-Identifier: Apache-2.0
#pragma once

// The system calls that the filter answers itself, and where the reviewed numbers end. docs/filter.md gives the reason
// for each, and the integration test makes every one of them.

#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>

// Newer than the headers of the oldest supported distribution; the number is the same on every architecture.
#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467  // 6.15; NOLINT(bugprone-reserved-identifier): the kernel's own name
#endif

namespace wrapd::plan {

// linux/ioprio.h, which is no C++ in every release of the headers (a parameter is called `class`).
enum IoPriorityWho : int { kIoPriorityProcess = 1, kIoPriorityGroup = 2, kIoPriorityUser = 3 };

// Every number below the end was looked at in Linux 6.18 (arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl);
// what a later kernel adds answers ENOSYS until somebody has looked at it. The tables have one hole, which newer
// kernels fill from below (uretprobe, uprobe), so it counts as unknown as well.
inline constexpr uint32_t kUnknownFrom = 470;
#if defined(__x86_64__)
inline constexpr uint32_t kHoleFrom = 337;
#elif defined(__aarch64__)
inline constexpr uint32_t kHoleFrom = 295;
#else
#error "the system calls of this architecture have not been reviewed"
#endif
inline constexpr uint32_t kHoleEnd = 424;

struct Refusal {
  int nr;
  int error;
};

// Refused whatever the arguments are.
inline constexpr Refusal kRefusals[] = {
    // Their operations never meet a filter, or their flags cannot be seen by one: programs fall back on ENOSYS.
    {__NR_io_uring_setup, ENOSYS},
    {__NR_io_uring_enter, ENOSYS},
    {__NR_io_uring_register, ENOSYS},
    {__NR_clone3, ENOSYS},
    // Other processes' memory, descriptors and state.
    {__NR_ptrace, EPERM},
    {__NR_process_vm_readv, EPERM},
    {__NR_process_vm_writev, EPERM},
    {__NR_process_madvise, EPERM},
    {__NR_pidfd_getfd, EPERM},
    {__NR_kcmp, EPERM},
    {__NR_perf_event_open, EPERM},
    {__NR_bpf, EPERM},
    {__NR_userfaultfd, EPERM},
    {__NR_fanotify_init, EPERM},
    {__NR_fanotify_mark, EPERM},
    // Keyrings are shared with the user's other processes.
    {__NR_add_key, EPERM},
    {__NR_request_key, EPERM},
    {__NR_keyctl, EPERM},
    // What names mean.
    {__NR_mount, EPERM},
    {__NR_umount2, EPERM},
    {__NR_pivot_root, EPERM},
    {__NR_chroot, EPERM},
    {__NR_setns, EPERM},
    {__NR_open_tree, EPERM},
    {__NR_open_tree_attr, EPERM},
    {__NR_move_mount, EPERM},
    {__NR_fsopen, EPERM},
    {__NR_fsconfig, EPERM},
    {__NR_fsmount, EPERM},
    {__NR_fspick, EPERM},
    {__NR_mount_setattr, EPERM},
    {__NR_open_by_handle_at, EPERM},
    // The machine.
    {__NR_kexec_load, EPERM},
    {__NR_kexec_file_load, EPERM},
    {__NR_init_module, EPERM},
    {__NR_finit_module, EPERM},
    {__NR_delete_module, EPERM},
    {__NR_acct, EPERM},
    {__NR_swapon, EPERM},
    {__NR_swapoff, EPERM},
    {__NR_reboot, EPERM},
    {__NR_quotactl, EPERM},
    {__NR_quotactl_fd, EPERM},
    {__NR_syslog, EPERM},
    {__NR_vhangup, EPERM},
    {__NR_lookup_dcookie, EPERM},
    {__NR_nfsservctl, EPERM},
#ifdef __x86_64__
    {__NR_iopl, EPERM},
    {__NR_ioperm, EPERM},
    {__NR_modify_ldt, EPERM},
    {__NR_uselib, EPERM},
#endif
};

}  // namespace wrapd::plan
