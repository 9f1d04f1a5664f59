// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include "base/unique_fd.h"

namespace wrapd::supervisor {

// A socket address as a target passed it: our copy, made once. Every decision and every call uses this copy, never the
// target's memory again.
struct AddressCopy {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The two that connect(2) and bind(2) take.
struct SocketCall {
  UniqueFd socket;
  AddressCopy address;
};

}  // namespace wrapd::supervisor
