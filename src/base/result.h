// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

namespace wrapd {

// What went wrong, on what, and what to do: one line without a newline, fit for stderr. `code` is an errno value where
// a system call failed, else 0.
struct Error {
  std::string message;
  int code = 0;
};

// The outcome of everything that input can reach. Exceptions are for bugs and for libraries, and are caught at their
// edge.
template <class T = void>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(std::string message, int code = 0) {
  return std::unexpected(Error{std::move(message), code});
}

// "CONTEXT: strerror(code)", with errno by default.
[[nodiscard]] std::unexpected<Error> fail_errno(std::string context, int code = errno);

}  // namespace wrapd
