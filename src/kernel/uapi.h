// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the kernel offers and the headers of the oldest supported distribution (Linux 6.1) do not name yet. Each value
// is from the named file under include/uapi of Linux 6.18.

#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

#include <cstdint>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)  // linux/seccomp.h, 5.19
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)  // linux/seccomp.h, 6.6
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL  // linux/pidfd.h, 6.9
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // asm-generic/socket.h, 6.5
#endif

namespace wrapd::kernel {

// linux/landlock.h: scopes came with ABI 6 (6.12), network with ABI 4 (6.7). The structure of 6.18, by our own name so
// that older headers do not cut it; the kernel takes any size whose tail it knows or that is zero.
struct LandlockRulesetAttr {
  uint64_t handled_access_fs = 0;
  uint64_t handled_access_net = 0;
  uint64_t scoped = 0;
};
inline constexpr uint64_t kLandlockScopeAbstract = 1U << 0;
inline constexpr uint64_t kLandlockScopeSignal = 1U << 1;
inline constexpr uint32_t kLandlockCreateRulesetVersion = 1U << 0;

}  // namespace wrapd::kernel
