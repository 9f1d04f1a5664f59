// SPDX-License-Identifier: Apache-2.0
#pragma once

// The messages of the control socket, docs/protocol.md. All are single JSON objects, one per SOCK_SEQPACKET message,
// parsed strictly: an unknown key, a missing key, a wrong type, a number out of range, nesting deeper than the schema
// or a message above its limit is an error that names the key.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "plan/confinement.h"
#include "wire/kind.h"
#include "wire/limits.h"

namespace wrapd::wire {

// wrap -> wrapd, first message. The connection takes no descriptors from the client: a stranger's descriptor may block
// the process that closes it. A compiled profile (a sealed memfd) goes to the supervisor over a channel of its own,
// which comes with the invitation; its message is one byte.
struct OpenRequest {
  static constexpr Kind kKind{"request", "open"};
  std::string command;  // shown, never run
  std::string cwd;      // absolute; fills ${CWD}
  std::optional<std::string> policy;
  bool profile = false;  // the client has one, and waits to be invited to send it
  plan::TrapSet traps;   // of the profile
  bool events = false;   // the supervisor shall send every audit event here, too
};
inline constexpr std::string_view kProfileMessage = "p";
[[nodiscard]] std::string encode(const OpenRequest& request);
[[nodiscard]] Result<OpenRequest> decode_open_request(std::string_view text);

// supervisor -> wrap, before the answer where the request says that there is a profile. The one descriptor that comes
// along is the channel that takes kProfileMessage with the profile.
[[nodiscard]] std::string encode_profile_invitation();
[[nodiscard]] bool is_profile_invitation(std::string_view text);

// supervisor -> wrap, the answer. The seccomp program comes along as the one descriptor if the command is filtered.
struct SessionReply {
  static constexpr Kind kKind{"reply", "session"};
  std::string id;         // 32 hexadecimal digits
  std::string directory;  // holds notify.sock, signal.sock, ptrace.sock
  std::string notify_token;
  std::string signal_token;
  std::string ptrace_token;
  std::string policy;
  std::string mode;  // enforce, audit, disabled
  plan::Confinement confinement;
  std::vector<std::string> notices;  // lines for the user's stderr
};
inline constexpr std::string_view kNotPermitted = "not-permitted";
struct ErrorReply {
  static constexpr Kind kKind{"reply", "error"};
  std::string code;     // stable word: not-permitted, unknown-policy, limit, confined, bad-request, internal, ...
  std::string message;  // one line: what, on what, what to do
};
[[nodiscard]] std::string encode(const SessionReply& reply);
[[nodiscard]] std::string encode(const ErrorReply& reply);
// An ErrorReply becomes an Error with its message; its code is EACCES where the caller may not open sessions.
[[nodiscard]] Result<SessionReply> decode_session_reply(std::string_view text);

// wrap -> supervisor, once CMD has ended: asks for the summary.
[[nodiscard]] std::string encode_finish_request();
[[nodiscard]] bool is_finish_request(std::string_view text);

// supervisor -> wrap.
struct DenialLine {
  std::string operation;  // "connect"
  std::string target;     // path, or name of an abstract socket without '@' (bytes; escaped on the wire)
  std::string second;     // path where a rename or a link leads; else empty
  bool abstract = false;
  uint64_t count = 0;
  std::string rule;      // empty: none matched, or `reason` says all
  std::string policy;    // of the layer that denied
  std::string rules;     // where the class's rules have other keys than `paths`: its list of rules in a policy
  std::string guidance;  // of the rule; may be empty
  std::string reason;    // where not the rules decided; with a rule that asks: what became of its question; else empty
  bool enforced = true;  // false: audit only, it was let through
};
struct Summary {
  static constexpr Kind kKind{"message", "summary"};
  uint64_t allowed = 0;
  uint64_t denied = 0;
  uint64_t audited = 0;  // would have been denied
  uint64_t lost = 0;     // audit events that could not be recorded
  std::vector<DenialLine> denials;
  uint64_t more = 0;  // distinct denials beyond those listed
};
// A call that waits until somebody has answered a question.
struct WaitingCall {
  static constexpr Kind kKind{"message", "waiting"};
  std::string operation;  // "connect"
  std::string target;     // path, or name of an abstract socket without '@' (bytes; escaped on the wire)
  bool abstract = false;
};
// One audit event as its JSON line.
struct EventMessage {
  static constexpr Kind kKind{"message", "event"};
  std::string json;
};
// The session is being ended from outside.
struct Terminated {
  static constexpr Kind kKind{"message", "terminated"};
  std::string by;  // "uid 0" (bytes; escaped on the wire)
};
// Any message of a running session. That a call waits is said once for each question, and may be left out: nothing
// rests on it.
using SessionMessage = std::variant<Summary, EventMessage, Terminated, WaitingCall>;
[[nodiscard]] std::string encode(const SessionMessage& message);
[[nodiscard]] Result<SessionMessage> decode_session_message(std::string_view text);

}  // namespace wrapd::wire
