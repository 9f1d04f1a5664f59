// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/result.h"

namespace wrapd::supervisor {

// What a descriptor that somebody handed to us really is. The name that /proc gives it is read first, because it can be
// read of anything: a request put to a file that its sender serves (FUSE, CUSE) could hang us. No file can have the
// names below, as those of files begin with '/'. `proc_fd_path` is where our descriptors have names: "/proc/self/fd",
// or "." where that is the working directory.

// A listener of seccomp_unotify(2), by SECCOMP_IOCTL_NOTIF_ID_VALID.
[[nodiscard]] Result<> descriptor_is_seccomp_listener(int fd, std::string_view proc_fd_path);

// A pidfd, of a process or a thread that has not been reaped, by pidfd_send_signal(2) with signal 0.
[[nodiscard]] Result<> descriptor_is_pidfd(int fd, std::string_view proc_fd_path);

}  // namespace wrapd::supervisor
