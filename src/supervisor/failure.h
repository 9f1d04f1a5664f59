// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a step fails with that is made for a target. The two kinds are types of their own, and neither is an Error: what
// goes wrong in the supervisor itself is no answer to anybody, and does not become one by a return.

#include <cerrno>
#include <expected>
#include <string>
#include <utility>
#include <variant>

namespace wrapd::supervisor {

// What the kernel says, or would have said without us: the target sees it.
struct TargetErrno {
  int value;
};
// The supervisor refuses: the target sees EACCES, and it is recorded with this reason.
struct Refusal {
  std::string why;
};
using Failure = std::variant<TargetErrno, Refusal>;

template <class T = void>
using ForTarget = std::expected<T, Failure>;

[[nodiscard]] inline std::unexpected<Failure> target_errno(int value) {
  return std::unexpected(Failure(TargetErrno{value}));
}
[[nodiscard]] inline std::unexpected<Failure> refusal(std::string why) {
  return std::unexpected(Failure(Refusal{std::move(why)}));
}

// The errno value that the target sees.
[[nodiscard]] inline int seen_by_target(const Failure& failure) {
  const auto* error = std::get_if<TargetErrno>(&failure);
  return error != nullptr ? error->value : EACCES;
}

}  // namespace wrapd::supervisor
