// SPDX-License-Identifier: Apache-2.0
#pragma once

// Our messages and records are JSON objects, and what is in one is listed once, in a function that takes a visitor:
//
//   void fields(auto& v, Is<AnswerOrder> auto& order) {
//     v.number("question", order.question);
//     v.flag("allow", order.allow);
//     v.shown("by", order.by, kMaxName);
//   }
//
// With an Encoder it writes the message. With a Decoder it reads one and refuses what is not exactly that: an unknown
// or missing key, another type, a number out of range, a text that is too long or of another form. What is only shown
// is cut by the Encoder; everything else is sent as it is, and refused by who receives it if it is wrong.
//
// Strings travel escaped by printable(), so that every message is valid UTF-8 without control characters, and are
// unescaped by the Decoder: what one side put in is byte for byte what the other side gets out.

#include <sys/types.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json_text.h"
#include "base/result.h"
#include "wire/json_reader.h"
#include "wire/kind.h"
#include "wire/limits.h"

namespace wrapd::wire {

template <class T, class Message>
concept Is = std::same_as<std::remove_const_t<T>, Message>;

// A text that is exactly so, or refused.
struct Form {
  bool (*good)(std::string_view text);
  std::string_view must;
};
[[nodiscard]] bool is_lower_hex(std::string_view text, size_t digits);
[[nodiscard]] bool is_absolute_path(std::string_view text);  // at most kMaxPath bytes, no NUL, no ".." component
extern const Form kId;
extern const Form kToken;
extern const Form kPolicyName;
extern const Form kCode;

// Words of an enumeration, in the order of its values from 0; or what a text may be.
using Words = std::span<const std::string_view>;

// Of a set: whether one without members is left out.
enum class Presence : bool { required, optional };

template <class Visitor, class Message>
void visit_all(Visitor& v, Message& message) {
  if constexpr (requires { Message::kKind; }) v.kind(Message::kKind);
  fields(v, message);
}

class Encoder {
 public:
  Encoder() : writer_(out_) {}
  void kind(const Kind& kind);
  void shown(std::string_view key, std::string_view text, size_t max);
  void shown(std::string_view key, pid_t number);  // 0 where it is negative
  void bytes(std::string_view key, std::string_view text, size_t) { word(key, text, {}); }
  void exact(std::string_view key, std::string_view text, const Form&) { word(key, text, {}); }
  void exact_if(std::string_view key, const std::optional<std::string>& text, const Form& form) {
    if (text) exact(key, *text, form);
  }
  void path(std::string_view key, std::string_view path) { bytes(key, path, kMaxPath); }
  void word(std::string_view key, std::string_view word, Words);
  template <class Enum>
    requires(!std::convertible_to<Enum, std::string_view>)
  void word(std::string_view key, Enum value, Words words) {
    writer_.string(key, words[static_cast<size_t>(value)]);
  }
  void flag(std::string_view key, bool value) { writer_.boolean(key, value); }
  void flag_if(std::string_view key, bool value) {
    if (value) flag(key, true);
  }
  void number(std::string_view key, std::integral auto value, uint64_t = 0, uint64_t = 0) {
    writer_.number(key, static_cast<uint64_t>(value));
  }
  template <class Clock, class Duration>
  void time(std::string_view key, std::chrono::time_point<Clock, Duration> value) {
    auto count = std::chrono::duration_cast<std::chrono::microseconds>(value.time_since_epoch()).count();
    number(key, std::max<int64_t>(count, 0));
  }
  using Member = std::pair<std::string_view, const bool*>;
  void set(std::string_view key, std::initializer_list<Member> members);
  // A set that gives its members' words, and takes each once (add()).
  template <class Set>
  void words(std::string_view key, const Set& set, Words, Presence presence = Presence::required) {
    if (presence == Presence::required || !set.empty()) word_list(key, set.words());
  }
  void shown_list(std::string_view key, const std::vector<std::string>& texts, size_t max_count, size_t max_bytes);
  template <std::integral T>
  void numbers(std::string_view key, const std::vector<T>& values, uint64_t) {
    list(key, values.size(), [&](std::string& out, size_t i) { out += std::to_string(values[i]); });
  }
  void part(std::string_view key, const auto& fill) {
    Encoder inner;
    fill(inner);
    writer_.json(key, inner.finish());
  }
  template <class Message>
  void object(std::string_view key, const Message& message) {
    part(key, [&](Encoder& inner) { visit_all(inner, message); });
  }
  template <class Message>
  void objects(std::string_view key, const std::vector<Message>& messages) {
    list(key, messages.size(), [&](std::string& out, size_t i) {
      Encoder inner;
      visit_all(inner, messages[i]);
      out += inner.finish();
    });
  }
  void event(std::string_view key, std::string_view json) { writer_.json(key, json); }

  [[nodiscard]] std::string finish() {
    writer_.finish();
    return std::move(out_);
  }

 private:
  void word_list(std::string_view key, Words words);
  void list(std::string_view key, size_t count, const auto& append) {
    std::string text = "[";
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) text += ',';
      append(text, i);
    }
    writer_.json(key, text += ']');
  }

  std::string out_;
  JsonObjectWriter writer_;
};

// The first thing that is wrong sticks and is what finish() returns.
class Decoder {
 public:
  // Borrows the object. `where` starts every message of finish().
  Decoder(const Value& object, std::string where);
  void kind(const Kind& kind);
  void shown(std::string_view key, std::string& text, size_t max) { bytes(key, text, max); }
  void bytes(std::string_view key, std::string& text, size_t max);
  void shown(std::string_view key, pid_t& number) { this->number(key, number, kMaxPid); }
  void exact(std::string_view key, std::string& text, const Form& form);
  void exact_if(std::string_view key, std::optional<std::string>& text, const Form& form);
  void path(std::string_view key, std::string& path);
  void word(std::string_view key, std::string& word, Words words);
  template <class Enum>
  void word(std::string_view key, Enum& value, Words words) {
    value = static_cast<Enum>(take_word(key, words));
  }
  void flag(std::string_view key, bool& value);
  void flag_if(std::string_view key, bool& value);
  template <std::integral T>
  void number(std::string_view key, T& value, uint64_t max = UINT64_MAX, uint64_t min = 0) {
    value = static_cast<T>(take_number(key, max, min));
  }
  template <class Clock, class Duration>
  void time(std::string_view key, std::chrono::time_point<Clock, Duration>& value) {
    const std::chrono::microseconds since(take_number(key, INT64_MAX / 1000, 0));
    value = std::chrono::time_point<Clock, Duration>(std::chrono::duration_cast<Duration>(since));
  }
  using Member = std::pair<std::string_view, bool*>;
  void set(std::string_view key, std::initializer_list<Member> members);
  template <class Set>
  void words(std::string_view key, Set& set, Words all, Presence presence = Presence::required) {
    set = {};
    take_words(key, all, presence, [&](std::string_view word) { return set.add(word); });
  }
  void shown_list(std::string_view key, std::vector<std::string>& texts, size_t max_count, size_t max_bytes);
  template <std::integral T>
  void numbers(std::string_view key, std::vector<T>& values, uint64_t max) {
    for (const Value& item : items(key)) {
      const bool good = item.type == Value::Type::number && item.number <= max;
      require(good, key, "a list of numbers of at most " + std::to_string(max));
      if (good) values.push_back(static_cast<T>(item.number));
    }
  }
  void part(std::string_view key, const auto& fill) {
    const Value* value = take(key, Value::Type::object);
    if (value != nullptr) nested(key, *value, fill);
  }
  template <class Message>
  void object(std::string_view key, Message& message) {
    part(key, [&](Decoder& inner) { visit_all(inner, message); });
  }
  template <class Message>
  void objects(std::string_view key, std::vector<Message>& messages) {
    for (const Value& item : items(key)) {
      require(item.type == Value::Type::object, key, "a list of objects");
      nested(key, item, [&](Decoder& inner) { visit_all(inner, messages.emplace_back()); });
      if (error_) return;
    }
  }
  // One audit event as its JSON text: an object without nested values.
  void event(std::string_view key, std::string& json);

  [[nodiscard]] Result<> finish();

 private:
  // nullptr (and an error) if the key is missing or of another type.
  const Value* take(std::string_view key, Value::Type type);
  // The same, but a missing key is no error.
  const Value* take_if(std::string_view key, Value::Type type);
  const std::vector<Value>& items(std::string_view key);
  uint64_t take_number(std::string_view key, uint64_t max, uint64_t min);
  size_t take_word(std::string_view key, Words words);
  // Gives each word of a list to `add`, which says whether it was one and is there for the first time.
  void take_words(std::string_view key, Words all, Presence presence, const std::function<bool(std::string_view)>& add);
  // Notes an error at `key` unless `good`.
  void require(bool good, std::string_view key, std::string_view must);
  void nested(std::string_view key, const Value& value, const auto& fill) {
    if (error_) return;
    Decoder inner(value, where_ + ", " + std::string(key));
    fill(inner);
    if (auto done = inner.finish(); !done) error_ = std::move(done.error());
  }

  const Value& object_;
  std::string where_;
  std::vector<bool> taken_;
  std::optional<Error> error_;
};

template <class Message>
[[nodiscard]] std::string encode_message(const Message& message) {
  Encoder encoder;
  visit_all(encoder, message);
  return encoder.finish();
}
template <class... Messages>
[[nodiscard]] std::string encode_message(const std::variant<Messages...>& message) {
  return std::visit([](const auto& one) { return encode_message(one); }, message);
}

template <class Message>
[[nodiscard]] Result<Message> message_from(const Value& object, std::string_view where) {
  Message message;
  Decoder decoder(object, std::string(where));
  visit_all(decoder, message);
  if (auto done = decoder.finish(); !done) return std::unexpected(std::move(done.error()));
  return message;
}

// `text` is at most `limit` bytes; `where` names the message in errors.
template <class Message>
[[nodiscard]] Result<Message> decode_message(std::string_view text, size_t limit, std::string_view where) {
  auto object = parse_object(text, limit, where);
  if (!object) return std::unexpected(std::move(object.error()));
  return message_from<Message>(*object, where);
}

// The word of `key`, if it is there and is one.
[[nodiscard]] std::string_view word_of(const Value& object, std::string_view key);
[[nodiscard]] std::unexpected<Error> unknown_kind(std::string_view where, std::span<const Kind> kinds);

// One of several messages, which are told apart by the word of one key.
template <class... Messages>
[[nodiscard]] Result<std::variant<Messages...>> decode_one_of(std::string_view text, size_t limit,
                                                              std::string_view where) {
  auto object = parse_object(text, limit, where);
  if (!object) return std::unexpected(std::move(object.error()));
  constexpr Kind kKinds[] = {Messages::kKind...};
  const std::string_view word = word_of(*object, kKinds[0].key);
  Result<std::variant<Messages...>> out = unknown_kind(where, kKinds);
  (void)((word == Messages::kKind.word && (out = message_from<Messages>(*object, where), true)) || ...);
  return out;
}

}  // namespace wrapd::wire
