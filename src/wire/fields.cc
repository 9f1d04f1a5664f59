// SPDX-License-Identifier: Apache-2.0
#include "wire/fields.h"

#include <algorithm>

#include "base/io.h"
#include "policy/name.h"

namespace wrapd::wire {
namespace {

// Cuts what is only shown: the result is escaped and at most `max` bytes long.
std::string cut(std::string_view bytes, size_t max) {
  // printable() ends at most three bytes of a character and the dots behind its limit.
  constexpr size_t kOverhang = 6;
  return printable(bytes, max - kOverhang);
}

// "a", "b" or "c", in quotes.
std::string one_of(Words words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out.append(1, '"').append(words[i]).append(1, '"');
  }
  return out;
}

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

bool is_code(std::string_view text) {
  return !text.empty() && text.size() <= kMaxCode &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

}  // namespace

constexpr Form kId{[](std::string_view text) { return is_lower_hex(text, kIdDigits); }, "32 hexadecimal digits"};
constexpr Form kToken{[](std::string_view text) { return is_lower_hex(text, kTokenDigits); }, "64 hexadecimal digits"};
constexpr Form kPolicyName{policy::valid_name, "1 to 64 letters, digits, '.', '_' or '-'"};
constexpr Form kCode{is_code, "lower-case letters and '-'"};

bool is_lower_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.size() > kMaxPath || text.find('\0') != std::string_view::npos) return false;
  while (!text.empty()) {
    size_t end = std::min(text.find('/'), text.size());
    if (text.substr(0, end) == "..") return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

// ---- Encoder

void Encoder::kind(const Kind& kind) {
  writer_.number("version", kProtocolVersion);
  writer_.string(kind.key, kind.word);
}

void Encoder::shown(std::string_view key, std::string_view text, size_t max) {
  writer_.string(key, cut(text, max));
}

void Encoder::shown(std::string_view key, pid_t number) {
  writer_.number(key, static_cast<uint64_t>(std::max(number, 0)));
}

void Encoder::word(std::string_view key, std::string_view word, Words) {
  writer_.string(key, escape(word));
}

void Encoder::set(std::string_view key, std::initializer_list<Member> members) {
  std::vector<std::string_view> present;
  for (const auto& [word, member] : members) {
    if (*member) present.push_back(word);
  }
  word_list(key, present);
}

void Encoder::word_list(std::string_view key, Words words) {
  list(key, words.size(), [&](std::string& out, size_t i) { append_json_string(out, words[i]); });
}

void Encoder::shown_list(std::string_view key, const std::vector<std::string>& texts, size_t max_count,
                         size_t max_bytes) {
  list(key, std::min(texts.size(), max_count),
       [&](std::string& out, size_t i) { append_json_string(out, cut(texts[i], max_bytes)); });
}

// ---- Decoder

Decoder::Decoder(const Value& object, std::string where)
    : object_(object), where_(std::move(where)), taken_(object.items.size(), false) {}

void Decoder::kind(const Kind& kind) {
  const Value* version = take("version", Value::Type::number);
  require(version == nullptr || version->number == kProtocolVersion, "version", std::to_string(kProtocolVersion));
  take_word(kind.key, {&kind.word, 1});
}

void Decoder::bytes(std::string_view key, std::string& text, size_t max) {
  const Value* value = take(key, Value::Type::string);
  if (value == nullptr) return;
  auto bytes = unescape(value->string);
  require(bytes.has_value(), key, "escaped with \\xNN only");
  require(!bytes || bytes->size() <= max, key, "at most " + std::to_string(max) + " bytes");
  if (bytes) text = std::move(*bytes);
}

void Decoder::exact(std::string_view key, std::string& text, const Form& form) {
  const Value* value = take(key, Value::Type::string);
  if (value == nullptr) return;
  require(form.good(value->string), key, form.must);
  text = value->string;
}

void Decoder::exact_if(std::string_view key, std::optional<std::string>& text, const Form& form) {
  if (take_if(key, Value::Type::string) != nullptr) exact(key, text.emplace(), form);
}

void Decoder::path(std::string_view key, std::string& path) {
  bytes(key, path, kMaxPath);
  require(is_absolute_path(path), key, "an absolute path without \"..\"");
}

void Decoder::word(std::string_view key, std::string& word, Words words) {
  word = words[take_word(key, words)];
}

void Decoder::flag(std::string_view key, bool& value) {
  const Value* found = take(key, Value::Type::boolean);
  value = found != nullptr && found->boolean;
}

void Decoder::flag_if(std::string_view key, bool& value) {
  const Value* found = take_if(key, Value::Type::boolean);
  value = found != nullptr && found->boolean;
}

void Decoder::set(std::string_view key, std::initializer_list<Member> members) {
  std::vector<std::string_view> words;
  for (const auto& [word, member] : members) {
    words.push_back(word);
    *member = false;
  }
  take_words(key, words, Presence::required, [&](std::string_view word) {
    auto member = std::ranges::find(members, word, &Member::first);
    return member != members.end() && !std::exchange(*member->second, true);
  });
}

void Decoder::shown_list(std::string_view key, std::vector<std::string>& texts, size_t max_count, size_t max_bytes) {
  const std::vector<Value>& list = items(key);
  require(list.size() <= max_count, key, "a list of at most " + std::to_string(max_count));
  if (error_) return;
  for (const Value& item : list) {
    auto text = item.type == Value::Type::string ? unescape(item.string) : std::nullopt;
    const bool good = text && text->size() <= max_bytes;
    require(good, key, "a list of strings of at most " + std::to_string(max_bytes) + " bytes");
    if (good) texts.push_back(std::move(*text));
  }
}

void Decoder::event(std::string_view key, std::string& json) {
  const Value* value = take(key, Value::Type::object);
  if (value == nullptr) return;
  auto nested = [](const Value& item) { return item.type == Value::Type::object || item.type == Value::Type::array; };
  require(std::ranges::none_of(value->items, nested), key, "an object without nested values");
  append_json(json, *value);
}

Result<> Decoder::finish() {
  if (error_) return std::unexpected(std::move(*error_));
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (!taken_[i]) return fail(where_ + ": unknown key \"" + printable(object_.keys[i], 64) + "\"", EINVAL);
  }
  return {};
}

const Value* Decoder::take_if(std::string_view key, Value::Type type) {
  auto found = std::ranges::find(object_.keys, key);
  if (found == object_.keys.end()) return nullptr;
  auto index = static_cast<size_t>(found - object_.keys.begin());
  taken_[index] = true;
  const Value& value = object_.items[index];
  require(value.type == type, key, type_name(type));
  return value.type == type ? &value : nullptr;
}

const Value* Decoder::take(std::string_view key, Value::Type type) {
  const Value* value = take_if(key, type);
  if (value == nullptr && !error_) {
    error_ = Error{std::string(where_).append(": \"").append(key).append("\" is missing"), EINVAL};
  }
  return value;
}

const std::vector<Value>& Decoder::items(std::string_view key) {
  static const std::vector<Value> kNone;
  const Value* list = take(key, Value::Type::array);
  return list != nullptr ? list->items : kNone;
}

uint64_t Decoder::take_number(std::string_view key, uint64_t max, uint64_t min) {
  const Value* value = take(key, Value::Type::number);
  if (value == nullptr) return 0;
  require(value->number <= max, key, "at most " + std::to_string(max));
  require(value->number >= min, key, "at least " + std::to_string(min));
  return error_ ? 0 : value->number;
}

size_t Decoder::take_word(std::string_view key, Words words) {
  const Value* value = take(key, Value::Type::string);
  if (value == nullptr) return 0;
  auto found = std::ranges::find(words, value->string);
  require(found != words.end(), key, one_of(words));
  return found == words.end() ? 0 : static_cast<size_t>(found - words.begin());
}

void Decoder::take_words(std::string_view key, Words all, Presence presence,
                         const std::function<bool(std::string_view)>& add) {
  const auto list = presence == Presence::optional ? take_if(key, Value::Type::array) : take(key, Value::Type::array);
  if (list == nullptr) return;
  require(list->items.size() <= all.size(), key, "a list of at most " + std::to_string(all.size()));
  for (const Value& item : list->items) {
    if (error_) return;
    require(item.type == Value::Type::string && add(item.string), key,
            "a list of " + one_of(all) + ", each at most once");
  }
}

void Decoder::require(bool good, std::string_view key, std::string_view must) {
  if (good || error_) return;
  error_ = Error{std::string(where_).append(": \"").append(key).append("\" must be ").append(must), EINVAL};
}

std::string_view word_of(const Value& object, std::string_view key) {
  auto at = std::ranges::find(object.keys, key);
  if (at == object.keys.end()) return {};
  return object.items[static_cast<size_t>(at - object.keys.begin())].string;
}

std::unexpected<Error> unknown_kind(std::string_view where, std::span<const Kind> kinds) {
  std::vector<std::string_view> words;
  for (const Kind& kind : kinds) words.push_back(kind.word);
  return fail(std::string(where).append(": \"").append(kinds[0].key).append("\" must be ") + one_of(words), EINVAL);
}

}  // namespace wrapd::wire
