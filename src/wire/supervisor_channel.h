// SPDX-License-Identifier: Apache-2.0
#pragma once

// The socketpair between the service and a supervisor, once the supervisor has its configuration. One JSON object per
// SOCK_SEQPACKET message, parsed as strictly as the others. The service believes what a supervisor says about what it
// did, never what it says about who it is: that stands in what the service sealed.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "wire/kind.h"
#include "wire/limits.h"

namespace wrapd::wire {

enum class SupervisorState : uint8_t {
  ready,        // identity set and verified, own filter installed, reply sent; left out by one that soon runs
  running,      // both hand-offs are done: the per-caller sockets can go
  terminating,  // told to end the tree; trapped calls kill their task
  finished,     // the tree is gone and session_closed is recorded; the process exits 0 next
};

// supervisor -> service
struct StateReport {
  static constexpr Kind kKind{"report", "state"};
  SupervisorState state = SupervisorState::ready;
};
// Totals since the session began.
struct CounterReport {
  static constexpr Kind kKind{"report", "counters"};
  uint64_t allowed = 0;
  uint64_t denied = 0;
  uint64_t audited = 0;  // let through, would have been denied
  uint64_t lost = 0;     // events that could not be recorded
  bool operator==(const CounterReport&) const = default;
};
// What was asked for, and by whom. Text is the program's own: bytes, escaped on the wire.
struct CallReport {
  std::string operation;  // "connect", "bind", ...
  std::string target;     // path, or name of an abstract socket without '@'
  std::string second;     // path where a rename or a link leads; else empty
  bool abstract = false;
  std::string rule;    // empty: no rule matched
  std::string policy;  // of the layer that decided; empty: the supervisor refuses, whatever policies say
  pid_t pid = 0;
  std::string comm;
  std::string exe;
};
// A denial as it happens, for who watches; rate-limited by the supervisor. The audit records have them all.
struct DenialReport {
  static constexpr Kind kKind{"report", "denial"};
  CallReport call;
  uint64_t count = 1;  // this one and those left out since the last report
};
struct QuestionReport {
  static constexpr Kind kKind{"report", "question"};
  uint64_t question = 0;  // of this session
  CallReport call;
  std::string guidance;
  uint64_t timeout_ms = 0;  // from now; then it is denied
};
struct QuestionGoneReport {
  static constexpr Kind kKind{"report", "question-gone"};
  uint64_t question = 0;
  std::string how;  // allowed, denied, expired, withdrawn
};
using SupervisorReport = std::variant<StateReport, CounterReport, DenialReport, QuestionReport, QuestionGoneReport>;
[[nodiscard]] std::string encode(const SupervisorReport& report);
[[nodiscard]] Result<SupervisorReport> decode_supervisor_report(std::string_view text);

// service -> supervisor
// Say again: state, counters, open questions.
struct ReportOrder {
  static constexpr Kind kKind{"order", "report"};
};
struct TerminateOrder {
  static constexpr Kind kKind{"order", "terminate"};
  std::string reason;  // one line, for the user: who ended it
};
struct AnswerOrder {
  static constexpr Kind kKind{"order", "answer"};
  uint64_t question = 0;
  bool allow = false;
  std::string by;  // who answered, for the record: "uid 1000"
};
using ServiceOrder = std::variant<ReportOrder, TerminateOrder, AnswerOrder>;
[[nodiscard]] std::string encode(const ServiceOrder& order);
[[nodiscard]] Result<ServiceOrder> decode_service_order(std::string_view text);

}  // namespace wrapd::wire
