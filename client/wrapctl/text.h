// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace wrapd::wrapctl {

// Text from elsewhere, for a terminal: what is not printable in the user's locale becomes \xNN, newlines as well. The
// service has escaped what programs chose already; this leaves such text as it is.
[[nodiscard]] std::string safe_text(std::string_view text);

// Columns of a terminal that safe text takes (wcwidth(3)).
[[nodiscard]] size_t columns_of(std::string_view text);

// Safe text that fits `columns`: with an ellipsis for its middle if it does not. Both ends of a path say something, and
// a program must not be able to push the end out of sight. Neither characters nor escapes are cut.
[[nodiscard]] std::string cut(std::string_view text, size_t columns);

// "5s", "3min", "2h", "4d" from `from` to `to` (microseconds); 0s if `to` is earlier.
[[nodiscard]] std::string age(uint64_t from, uint64_t to);

// A time in microseconds since the epoch: UTC, RFC 3339, milliseconds.
[[nodiscard]] std::string rfc3339(uint64_t usec);
// The same in the user's time zone, "2026-01-31 12:00:00".
[[nodiscard]] std::string local_time(uint64_t usec);
[[nodiscard]] uint64_t now_usec();

// The name of a user, else the number.
[[nodiscard]] std::string user_name(uint32_t uid);

}  // namespace wrapd::wrapctl
