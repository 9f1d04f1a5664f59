// SPDX-License-Identifier: Apache-2.0
#include "policy/classes.h"

#include "policy/classes/unix_socket.h"

namespace wrapd::policy {

std::span<const ClassEntry, kClasses> class_table() {
  static constexpr std::array<ClassEntry, kClasses> kTable = {kUnixSocketClass};
  return kTable;
}

}  // namespace wrapd::policy
