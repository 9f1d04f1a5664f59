// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace wrapd::policy {

inline constexpr size_t kMaxName = 64;  // bytes

// 1 to 64 characters of A-Z a-z 0-9 . _ - that do not begin with a dot: names of policies and rules.
[[nodiscard]] constexpr bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace wrapd::policy
