// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace wrapd::wire {

// What a message is: its first key after the version, and that key's word. A type with a member kKind starts with it.
struct Kind {
  std::string_view key;
  std::string_view word;
};

}  // namespace wrapd::wire
