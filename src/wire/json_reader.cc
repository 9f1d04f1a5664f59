// SPDX-License-Identifier: Apache-2.0
#include "wire/json_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/io.h"
#include "base/json_text.h"
#include "wire/limits.h"

namespace wrapd::wire {
namespace {

// Builds a Value; a callback that returns false ends the parse.
class Builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  bool null() { return stop("null is not used"); }
  bool boolean(bool value) {
    Value* v = add(Value::Type::boolean);
    if (v != nullptr) v->boolean = value;
    return v != nullptr;
  }
  bool number_integer(number_integer_t) { return stop("negative numbers are not used"); }
  bool number_unsigned(number_unsigned_t value) {
    Value* v = add(Value::Type::number);
    if (v != nullptr) v->number = value;
    return v != nullptr;
  }
  bool number_float(number_float_t, const string_t&) { return stop("only whole numbers below 2^64 are used"); }
  bool string(string_t& value) {
    Value* v = add(Value::Type::string);
    if (v != nullptr) v->string = std::move(value);
    return v != nullptr;
  }
  bool binary(binary_t&) { return stop("not text"); }
  bool start_object(size_t) { return start(Value::Type::object); }
  bool key(string_t& name) {
    std::vector<std::string>& keys = open_.back()->keys;
    if (std::ranges::find(keys, name) != keys.end()) {
      return stop("the key \"" + printable(name, 64) + "\" is there twice");
    }
    if (keys.size() >= kMaxKeys) return stop("more than " + std::to_string(kMaxKeys) + " keys in one object");
    keys.push_back(std::move(name));
    return true;
  }
  bool end_object() { return end(); }
  bool start_array(size_t) { return start(Value::Type::array); }
  bool end_array() { return end(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    return stop("not JSON at byte " + std::to_string(position));
  }

  Value root;
  std::string problem;

 private:
  bool stop(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  Value* add(Value::Type type) {
    if (open_.empty()) {
      root.type = type;
      return &root;
    }
    Value& v = open_.back()->items.emplace_back();
    v.type = type;
    return &v;
  }
  bool start(Value::Type type) {
    if (open_.size() >= kMaxDepth) return stop("nested deeper than any message is");
    // Stays valid: the parent's items do not grow before this one is closed.
    open_.push_back(add(type));
    return true;
  }
  bool end() {
    open_.pop_back();
    return true;
  }

  std::vector<Value*> open_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<Value> parse_object(std::string_view text, size_t limit, std::string_view what) {
  std::string where(what);
  if (text.size() > limit) return fail(where + ": longer than " + std::to_string(limit) + " bytes", EMSGSIZE);
  // Also keeps out a byte order mark, which the library would skip.
  if (!text.starts_with('{')) return fail(where + ": not a JSON object", EINVAL);
  Builder builder;
  try {
    if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.root);
  } catch (const std::exception&) {
    return fail(where + ": cannot be parsed", EINVAL);
  }
  return fail(where + ": " + builder.problem, EINVAL);
}

void append_json(std::string& out, const Value& value) {
  switch (value.type) {
    case Value::Type::boolean:
      out += value.boolean ? "true" : "false";
      break;
    case Value::Type::number:
      out += std::to_string(value.number);
      break;
    case Value::Type::string:
      append_json_string(out, value.string);
      break;
    case Value::Type::array:
    case Value::Type::object: {
      bool object = value.type == Value::Type::object;
      out += object ? '{' : '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ',';
        if (object) {
          append_json_string(out, value.keys[i]);
          out += ':';
        }
        append_json(out, value.items[i]);
      }
      out += object ? '}' : ']';
      break;
    }
  }
}

std::string escape(std::string_view bytes) {
  return printable(bytes, std::string::npos);
}

std::optional<std::string> unescape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    size_t plain = std::min(text.find('\\'), text.size());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    if (text.size() < 4 || text[1] != 'x') return std::nullopt;
    int high = hex_digit(text[2]);
    int low = hex_digit(text[3]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    text.remove_prefix(4);
  }
  return out;
}

}  // namespace wrapd::wire
