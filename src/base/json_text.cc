// SPDX-License-Identifier: Apache-2.0
#include "base/json_text.h"

namespace wrapd {

void append_json_string(std::string& out, std::string_view utf8) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (char c : utf8) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void JsonObjectWriter::key(std::string_view key) {
  if (!first_) out_ += ',';
  first_ = false;
  append_json_string(out_, key);
  out_ += ':';
}

void JsonObjectWriter::string(std::string_view key, std::string_view utf8) {
  this->key(key);
  append_json_string(out_, utf8);
}

void JsonObjectWriter::number(std::string_view key, uint64_t value) {
  this->key(key);
  out_ += std::to_string(value);
}

void JsonObjectWriter::boolean(std::string_view key, bool value) {
  this->key(key);
  out_ += value ? "true" : "false";
}

void JsonObjectWriter::json(std::string_view key, std::string_view value) {
  this->key(key);
  out_ += value;
}

}  // namespace wrapd
