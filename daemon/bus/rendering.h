// SPDX-License-Identifier: Apache-2.0
#pragma once

// How the service's values look on the bus. Whatever a program or a user chose is escaped: sd-bus refuses text that is
// not UTF-8, and a terminal acts on what is.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/io.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

// Since the epoch; 0 for what lies before.
[[nodiscard]] inline uint64_t microseconds_of(WallTime time) {
  auto count = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  return count < 0 ? 0 : static_cast<uint64_t>(count);
}

[[nodiscard]] inline uint32_t process_number(pid_t pid) {
  return pid < 0 ? 0 : static_cast<uint32_t>(pid);
}

// For a line of polkit's dialog: both ends of what is longer, at most 128 characters.
[[nodiscard]] inline std::string shown_in_dialog(std::string_view text) {
  return printable(without_middle(text, 128), std::string::npos);
}

// For a list: what is longer lacks its middle.
[[nodiscard]] inline std::string shown_in_list(std::string_view text) {
  constexpr size_t kShown = 128;
  // What is far from both ends is not looked at: at most four bytes are a character.
  constexpr size_t kEnd = 4 * kShown;
  if (text.size() <= 2 * kEnd) return printable(without_middle(text, kShown), std::string::npos);
  std::string ends(text.substr(0, kEnd));
  ends += text.substr(text.size() - kEnd);
  return printable(without_middle(ends, kShown), std::string::npos);
}

}  // namespace wrapd::daemon::bus
