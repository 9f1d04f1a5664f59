// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is recorded. One event is one flat set of fields; the sinks render the same event as journal fields and as one
// JSON line. Strings may hold any bytes (names of sockets, comm of a hostile program): rendering escapes them, so that
// nothing a program sends can look like a field, a line or an event of its own.

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "policy/request.h"

namespace wrapd::audit {

enum class Kind : uint8_t {
  session_opened,
  session_closed,
  approval,
  peer_rejected,
  policy_loaded,
  policy_rejected,
  events_lost,
  operation,  // of the first class that is judged; those of the others follow
};
// Of the events that record decisions on a class.
[[nodiscard]] constexpr Kind kind_of(policy::Class c) {
  return static_cast<Kind>(static_cast<size_t>(Kind::operation) + static_cast<size_t>(c));
}
[[nodiscard]] constexpr bool is_operation(Kind kind) {
  return kind >= Kind::operation;
}
inline constexpr auto kAllKinds = [] {
  std::array<Kind, static_cast<size_t>(Kind::operation) + policy::kClasses> all{};
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Kind>(i);
  return all;
}();

[[nodiscard]] std::string_view to_string(Kind kind);
// The journal's MESSAGE_ID: 32 hexadecimal digits, one per kind, the same as in units/wrapd.catalog.
[[nodiscard]] std::string_view message_id(Kind kind);

struct Event {
  Kind kind = Kind::operation;
  std::chrono::system_clock::time_point time;  // set by make_event()
  std::string session_id;                      // empty: belongs to no session
  std::optional<uid_t> uid;                    // the caller's
  pid_t pid = 0;                               // of the program that asked (0: unknown)
  std::string comm;
  std::string exe;
  std::string operation;  // connect, bind, listen, socket, socketpair, rename, link; open, close, hand-off, ...
  std::string decision;   // allow, deny, audit, ask; empty where nothing was decided
  std::string rule;       // empty: no rule matched
  std::string policy;
  std::string mode;    // enforce, audit, disabled
  std::string action;  // what was done: allowed, denied; approval: asked, allowed, denied, expired, withdrawn
  std::string reason;  // why, where no rule says it: "race", "supervisor limit", what is wrong with a policy file, ...
  std::string path;    // of the object, or of a policy file
  bool abstract = false;
  std::string target;                // second path: where a rename would lead
  std::string command;               // session_opened: as shown
  int error = 0;                     // errno given to the program; 0: none
  std::optional<uint64_t> question;  // approval: of the session
  std::string by;                    // approval: who answered; policy_loaded, policy_rejected: who asked for it
  std::optional<uint64_t> count;     // how many this stands for; see docs/audit.md
  std::optional<uint64_t> allowed;   // session_closed
  std::optional<uint64_t> denied;    // session_closed
  std::optional<uid_t> peer_uid;     // peer_rejected
};

// An event of this kind, of now.
[[nodiscard]] Event make_event(Kind kind);

// One JSON object without a newline: type, timestamp (UTC, RFC 3339, milliseconds), then every field that is set, in a
// fixed order. Always valid UTF-8.
[[nodiscard]] std::string to_json(const Event& event);

// One line for people: "denied connect to /run/docker.sock by curl[123] of session 0123abcd (rule no-docker)".
[[nodiscard]] std::string to_message(const Event& event);

// syslog(3) priority: denials, rejections and losses are warnings or notices, the rest is informational.
[[nodiscard]] int priority(const Event& event);

}  // namespace wrapd::audit
