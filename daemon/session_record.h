// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the service itself knows about a session, written down once, before the supervisor gets its configuration, in a
// memfd that nobody can change any more. It outlives the service in the service manager's descriptor store; a restarted
// service believes this about who a session belongs to, and nothing that a supervisor says. That a session was told to
// end is written down in the same way: a supervisor that does not hear, or does not want to, would not say it.

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/service_api.h"
#include "wire/kind.h"

namespace wrapd::daemon {

struct SessionFacts {
  static constexpr wire::Kind kKind{"record", "session"};
  std::string id;  // 32 hexadecimal digits
  uid_t uid = static_cast<uid_t>(-1);
  pid_t client_pid = 0;
  pid_t supervisor_pid = 0;
  std::string policy;
  std::string policy_digest;  // of the policy's text, policy_digest()
  std::string mode;           // enforce, audit, disabled
  WallTime since;             // microseconds are kept
  std::string command;        // as shown
  size_t waiting_calls = 0;   // that it was given (call_shares.h)
};

// That a session was told to end.
struct EndOrder {
  static constexpr wire::Kind kKind{"record", "end"};
  std::string id;      // the session's
  std::string reason;  // one line, for the user: who ended it
  // When it ends by force. CLOCK_MONOTONIC, which all runs of the service until the next boot share; microseconds are
  // kept.
  std::chrono::steady_clock::time_point deadline;
};

inline constexpr size_t kMaxSessionRecord = 32768;

[[nodiscard]] std::string encode(const SessionFacts& facts);
[[nodiscard]] std::string encode(const EndOrder& order);
using SessionRecord = std::variant<SessionFacts, EndOrder>;
[[nodiscard]] Result<SessionRecord> decode_session_record(std::string_view text);

// A sealed memfd with the record.
[[nodiscard]] Result<UniqueFd> seal_session_record(const SessionRecord& record);
[[nodiscard]] Result<UniqueFd> seal_session_facts(const SessionFacts& facts);
// Believes only what this service can have written: a memfd that carries every seal and belongs to us (root).
[[nodiscard]] Result<SessionRecord> read_session_record(int memfd);

// Tells whether a policy's text is still the one that a session was opened with. The text is root's, so nobody looks
// for two with the same digest. It is the same in every run of the service.
[[nodiscard]] std::string policy_digest(std::string_view text);

}  // namespace wrapd::daemon
