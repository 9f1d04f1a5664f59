// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace wrapd::compile {

struct User {
  std::string name;
  std::string home;
};

// The entry of the user database, by getent(1): this program is linked statically, and the C library's look-up loads
// modules of the very version that it was linked with. None if there is no entry, or nobody to ask.
[[nodiscard]] std::optional<User> find_user(uid_t uid);

}  // namespace wrapd::compile
