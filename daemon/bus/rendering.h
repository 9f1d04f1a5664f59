// SPDX-License-Identifier: Apache-2.0
#pragma once

// How the service's data look on the bus. Each structure that may grow is a dictionary (a{sv}), made of one table of
// keys; docs/dbus.md has the same tables, and a test holds them against what is sent. Every text is escaped here, since
// programs and users choose some of them: sd-bus refuses text that is not UTF-8, and a terminal acts on what is.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "daemon/bus/compat.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

using Value = std::variant<bool, uint32_t, uint64_t, std::string>;

// A key of a dictionary, or a property. `type` is the D-Bus type of what `get` returns.
template <class Object>
struct Key {
  const char* name;
  const char* type;
  Value (*get)(const Object& object);
  sdbus::Flags::PropertyUpdateBehaviorFlags changes = sdbus::Flags::CONST_PROPERTY_VALUE;
};
[[nodiscard]] std::span<const Key<SessionInfo>> session_keys();  // the properties of org.wrapd1.Session, too
[[nodiscard]] std::span<const Key<QuestionInfo>> question_keys();
[[nodiscard]] std::span<const Key<PolicyInfo>> policy_keys();
[[nodiscard]] std::span<const Key<PolicyVerdict>> verdict_keys();
[[nodiscard]] std::span<const Key<wire::DenialReport>> denial_keys();

// Texts are whole (up to 4096 bytes), or as short as a list shows them (128 characters, without their middle).
enum class Length : uint8_t { whole, listed };
[[nodiscard]] std::string rendered(const std::string& text, Length length);

struct Dictionary {
  std::map<std::string, sdbus::Variant> entries;
  size_t size = 0;  // in bytes, on the safe side

  void add(const char* key, const Value& value, Length length = Length::whole);
};
template <class Object>
[[nodiscard]] Dictionary dictionary(std::span<const Key<Object>> keys, const Object& object, Length length) {
  Dictionary out;
  for (const auto& key : keys) out.add(key.name, key.get(object), length);
  return out;
}

// For a line of polkit's dialog: both ends of what is longer, at most 128 characters.
[[nodiscard]] std::string shown_in_dialog(std::string_view text);

}  // namespace wrapd::daemon::bus
