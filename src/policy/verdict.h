// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace wrapd::policy {

// Ordered from the strictest; deny is what a forgotten initialisation means.
enum class Verdict : uint8_t { deny = 0, ask = 1, audit = 2, allow = 3 };

[[nodiscard]] constexpr Verdict strictest(Verdict a, Verdict b) {
  return std::min(a, b);
}

[[nodiscard]] constexpr std::string_view to_string(Verdict v) {
  switch (v) {
    case Verdict::deny:
      return "deny";
    case Verdict::ask:
      return "ask";
    case Verdict::audit:
      return "audit";
    case Verdict::allow:
      return "allow";
  }
  return "deny";
}

// What is done with a layer's verdicts: enforced, or only recorded; disabled layers judge nothing.
enum class Mode : uint8_t { enforce = 0, audit = 1, disabled = 2 };

[[nodiscard]] constexpr std::string_view to_string(Mode m) {
  switch (m) {
    case Mode::enforce:
      return "enforce";
    case Mode::audit:
      return "audit";
    case Mode::disabled:
      return "disabled";
  }
  return "enforce";
}

}  // namespace wrapd::policy
