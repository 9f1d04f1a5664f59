// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wrapd {

// Writing JSON, for programs whose start is too short for a library: fixed keys, in the order of the calls, on one
// line. `utf8` must be valid UTF-8 (as printable() gives it).

// Appends `utf8` as a JSON string with its quotes (RFC 8259, section 7).
void append_json_string(std::string& out, std::string_view utf8);

class JsonObjectWriter {
 public:
  explicit JsonObjectWriter(std::string& out) : out_(out) { out_ += '{'; }
  void string(std::string_view key, std::string_view utf8);
  void number(std::string_view key, uint64_t value);
  void boolean(std::string_view key, bool value);
  // A value that is JSON already.
  void json(std::string_view key, std::string_view value);
  void finish() { out_ += '}'; }

 private:
  void key(std::string_view key);
  std::string& out_;
  bool first_ = true;
};

}  // namespace wrapd
