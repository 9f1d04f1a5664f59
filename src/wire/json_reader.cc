// SPDX-License-Identifier: Apache-2.0
#include "wire/json_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/io.h"
#include "base/json_text.h"
#include "wire/control.h"

namespace wrapd::wire {
namespace {

constexpr size_t kMaxDepth = 3;  // what the deepest message needs: session configuration > reply > tokens

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
    if (std::find(keys.begin(), keys.end(), name) != keys.end()) {
      return stop("the key \"" + printable(name, 64) + "\" is there twice");
    }
    // Keys are searched one by one above; no message needs many.
    if (keys.size() >= 64) return stop("more than 64 keys in one object");
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

std::string_view type_name(Value::Type type) {
  switch (type) {
    case Value::Type::boolean:
      return "true or false";
    case Value::Type::number:
      return "a number";
    case Value::Type::string:
      return "a string";
    case Value::Type::array:
      return "a list";
    case Value::Type::object:
      return "an object";
  }
  return "something else";
}

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

bool is_lower_hex(std::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) { return hex_digit(c) >= 0; });
}

bool is_absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.size() > 4095 || text.find('\0') != std::string_view::npos) return false;
  while (!text.empty()) {
    size_t end = std::min(text.find('/'), text.size());
    if (text.substr(0, end) == "..") return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

Fields::Fields(const Value& object, std::string_view where)
    : object_(object), where_(where), taken_(object.items.size(), false) {}

void Fields::require(bool good, std::string_view key, std::string_view must) {
  if (good || error_) return;
  std::string message(where_);
  message.append(": \"").append(key).append("\" must be ").append(must);
  error_ = Error{std::move(message), EINVAL};
}

const Value* Fields::take_if(std::string_view key, Value::Type type) {
  auto found = std::find(object_.keys.begin(), object_.keys.end(), key);
  if (found == object_.keys.end()) return nullptr;
  auto index = static_cast<size_t>(found - object_.keys.begin());
  taken_[index] = true;
  const Value& value = object_.items[index];
  require(value.type == type, key, type_name(type));
  return value.type == type ? &value : nullptr;
}

const Value* Fields::take(std::string_view key, Value::Type type) {
  const Value* value = take_if(key, type);
  if (value == nullptr && !error_) {
    error_ = Error{std::string(where_).append(": \"").append(key).append("\" is missing"), EINVAL};
  }
  return value;
}

bool Fields::boolean(std::string_view key) {
  const Value* value = take(key, Value::Type::boolean);
  return value != nullptr && value->boolean;
}

uint64_t Fields::number(std::string_view key, uint64_t max) {
  const Value* value = take(key, Value::Type::number);
  if (value == nullptr) return 0;
  require(value->number <= max, key, "at most " + std::to_string(max));
  return value->number <= max ? value->number : 0;
}

std::string Fields::text(std::string_view key, size_t max) {
  const Value* value = take(key, Value::Type::string);
  if (value == nullptr) return {};
  auto bytes = unescape(value->string);
  require(bytes.has_value(), key, "escaped with \\xNN only");
  if (!bytes) return {};
  require(bytes->size() <= max, key, "at most " + std::to_string(max) + " bytes");
  return bytes->size() <= max ? std::move(*bytes) : std::string();
}

void Fields::constant(std::string_view key, std::string_view word) {
  const Value* value = take(key, Value::Type::string);
  require(value == nullptr || value->string == word, key, "\"" + std::string(word) + "\"");
}

void Fields::version() {
  const Value* value = take("version", Value::Type::number);
  require(value == nullptr || value->number == kProtocolVersion, "version", std::to_string(kProtocolVersion));
}

Result<> Fields::finish() {
  if (error_) return std::unexpected(*error_);
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (!taken_[i]) {
      return fail(std::string(where_) + ": unknown key \"" + printable(object_.keys[i], 64) + "\"", EINVAL);
    }
  }
  return {};
}

}  // namespace wrapd::wire
