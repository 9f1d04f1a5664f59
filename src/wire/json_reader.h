// SPDX-License-Identifier: Apache-2.0
#pragma once

// Strict reading of our messages, used by codecs only: those of this directory and the service's record of a session.
// What the schema does not know is refused while it is parsed (null, negative and fractional numbers, duplicate keys,
// depth); what it knows is taken key by key from Fields, which afterwards names the key that nobody took.
//
// Strings travel escaped by printable(), so that every message is valid UTF-8 without control characters, and are
// unescaped here: what one side put in is byte for byte what the other side gets out.

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

// One object of at most `limit` bytes. `what` names the message in errors, here and in Fields.
[[nodiscard]] Result<Value> parse_object(std::string_view text, size_t limit, std::string_view what);

// Renders a parsed object again, on one line, its keys in their order.
void append_json(std::string& out, const Value& value);

// The other direction of printable(): nothing if `text` has a backslash that is no \xNN.
[[nodiscard]] std::optional<std::string> unescape(std::string_view text);
// printable() without a limit.
[[nodiscard]] std::string escape(std::string_view bytes);

[[nodiscard]] bool is_lower_hex(std::string_view text, size_t digits);
[[nodiscard]] bool is_absolute_path(std::string_view text);  // at most 4095 bytes, no NUL, no ".." component

// Takes an object apart. The first thing that is wrong sticks and is what finish() returns; until then callers may take
// all keys without looking.
class Fields {
 public:
  // Borrows both. `where` starts every message of finish().
  Fields(const Value& object, std::string_view where);

  // nullptr (and an error) if the key is missing or of another type.
  const Value* take(std::string_view key, Value::Type type);
  // The same, but a missing key is no error.
  const Value* take_if(std::string_view key, Value::Type type);

  bool boolean(std::string_view key);
  uint64_t number(std::string_view key, uint64_t max);
  // Unescaped, at most `max` bytes.
  std::string text(std::string_view key, size_t max);
  // The value must be one of our own words, exactly.
  void constant(std::string_view key, std::string_view word);
  void version();

  // Notes an error at `key` unless `good`.
  void require(bool good, std::string_view key, std::string_view must);
  [[nodiscard]] Result<> finish();

 private:
  const Value& object_;
  std::string_view where_;
  std::vector<bool> taken_;
  std::optional<Error> error_;
};

}  // namespace wrapd::wire
