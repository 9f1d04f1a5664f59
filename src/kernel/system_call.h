// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the implementations beside this file.

#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace wrapd::kernel {

inline int result(long rc) {
  return rc < 0 ? -errno : static_cast<int>(rc);
}

inline Result<std::string> read_link_at(int directory, const char* name) {
  std::array<char, PATH_MAX + 1> buffer;
  ssize_t n = ::readlinkat(directory, name, buffer.data(), buffer.size());
  if (n < 0) return fail_errno("cannot read a link");
  if (static_cast<size_t>(n) == buffer.size()) return fail("link target is too long", ENAMETOOLONG);
  return std::string(buffer.data(), static_cast<size_t>(n));
}

[[nodiscard]] uint64_t mount_id_of(int fd);  // 0 if unknown
// Connects to exactly the socket file behind an O_PATH descriptor: Operations::connect_object().
[[nodiscard]] int connect_to_object(int socket, int object);

}  // namespace wrapd::kernel
