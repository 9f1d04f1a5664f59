// SPDX-License-Identifier: Apache-2.0
#pragma once

// Strict reading of one JSON object, for wire/fields.h: what no message has is refused while it is parsed (null,
// negative and fractional numbers, duplicate keys, depth).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace wrapd::wire {

struct Value {
  enum class Type : uint8_t { boolean, number, string, array, object };
  Type type = Type::boolean;
  bool boolean = false;
  uint64_t number = 0;
  std::string string;
  std::vector<std::string> keys;  // of an object, in order; parallel to `items`
  std::vector<Value> items;
};

// One object of at most `limit` bytes. `what` names the message in errors.
[[nodiscard]] Result<Value> parse_object(std::string_view text, size_t limit, std::string_view what);

// Renders a parsed object again, on one line, its keys in their order.
void append_json(std::string& out, const Value& value);

// The other direction of printable(): nothing if `text` has a backslash that is no \xNN.
[[nodiscard]] std::optional<std::string> unescape(std::string_view text);
// printable() without a limit.
[[nodiscard]] std::string escape(std::string_view bytes);

}  // namespace wrapd::wire
