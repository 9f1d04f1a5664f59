// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/un.h>

#include <cstddef>
#include <string_view>

#include "supervisor/task.h"

namespace wrapd::supervisor {

inline constexpr size_t kUnixPathOffset = offsetof(sockaddr_un, sun_path);

// What an AF_UNIX address names (unix(7)).
struct UnixName {
  enum class Kind { invalid, unnamed, path, abstract };
  Kind kind = Kind::invalid;
  std::string_view text;  // path up to the first NUL, or the abstract name with all its bytes; borrows the copy
};
// `unnamed` is an address that is the family alone: autobind where it is bound, invalid where it is connected to.
[[nodiscard]] UnixName decode_unix_name(const AddressCopy& address);

}  // namespace wrapd::supervisor
