// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace wrapd::policy {

// Ordered from the strictest; deny is what a forgotten initialisation means.
enum class Verdict : uint8_t { deny = 0, ask = 1, audit = 2, allow = 3 };

[[nodiscard]] constexpr Verdict strictest(Verdict a, Verdict b) {
  return std::min(a, b);
}

inline constexpr std::string_view kVerdicts[] = {"deny", "ask", "audit", "allow"};
[[nodiscard]] constexpr std::string_view to_string(Verdict v) {
  return kVerdicts[static_cast<size_t>(v)];
}

// What is done with a layer's verdicts: enforced, or only recorded; disabled layers judge nothing.
enum class Mode : uint8_t { enforce = 0, audit = 1, disabled = 2 };

inline constexpr std::string_view kModes[] = {"enforce", "audit", "disabled"};
[[nodiscard]] constexpr std::string_view to_string(Mode m) {
  return kModes[static_cast<size_t>(m)];
}

}  // namespace wrapd::policy
