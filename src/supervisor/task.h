// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

// Error::code where not the kernel but we refuse: the target sees EACCES, and it is recorded.
inline constexpr int kRefused = 4096;

// A socket address as a target passed it: our copy, made once. Every decision and every call uses this copy, never the
// target's memory again.
struct AddressCopy {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The steps that every handler begins with. Errors carry the errno for the target, or kRefused.
//
// The target's descriptor `fd`, taken from the thread that asks (not from its process: threads can have descriptor
// tables of their own), after a check that the task is one of the caller's.
[[nodiscard]] Result<UniqueFd> take_descriptor(kernel::Kernel& kernel, const Notification& call, int fd);

// The same, and the address beside it: the two that connect(2) and bind(2) take. The descriptor's errors come first, as
// in the kernel.
struct SocketCall {
  UniqueFd socket;
  AddressCopy address;
};
[[nodiscard]] Result<SocketCall> take_socket_call(kernel::Kernel& kernel, const Notification& call);

// As the kernel's move_addr_to_kernel(): EINVAL for a length that is negative or above 128, EFAULT for what cannot be
// read whole.
[[nodiscard]] Result<AddressCopy> copy_address(kernel::Kernel& kernel, const Notification& call, uint64_t address,
                                               uint64_t length);

// A NUL-terminated string of at most PATH_MAX bytes with the NUL (ENAMETOOLONG, EFAULT, as getname()).
[[nodiscard]] Result<std::string> copy_path(kernel::Kernel& kernel, const Notification& call, uint64_t address);

}  // namespace wrapd::supervisor
