// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a session tells of itself: events for the audit (and for `wrap`, if it wants them), counters, denials and
// questions for the service, and the summary for the user. All of it is called by the monitor.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "audit/repeats.h"
#include "audit/sink.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/handler.h"
#include "supervisor/loop/loop.h"
#include "supervisor/session/client_channel.h"
#include "supervisor/session/session.h"
#include "wire/control.h"
#include "wire/session_end.h"

namespace wrapd::supervisor {

// What the user is told when the command has ended. Bounded: a program can be denied anything any number of times.
class Denials {
 public:
  static constexpr size_t kMaxLines = 64;

  explicit Denials(const policy::Layers& layers) : layers_(layers) {}
  void count(const Record& record);
  void count_lost(uint64_t events) { summary_.lost += events; }
  [[nodiscard]] const wire::Summary& summary() const { return summary_; }

 private:
  const policy::Layers& layers_;
  wire::Summary summary_;
};

class Reporter {
 public:
  using Clock = Loop::Clock;

  // Takes the sink and the budget out of the options; the rest is borrowed.
  Reporter(SessionOptions& options, const policy::Layers& layers, ClientChannel& client);

  void opened();
  // The last event. What is left out is counted in it.
  void closed(const wire::SessionEnd& end);
  // What became of calls and of questions since the last time.
  void collect(Loop& loop, Approvals& approvals);
  // What was held back for as long as it may be.
  void pass_due(Clock::time_point now);
  // To `wrap`, with everything that waits: behind the events that wait for the same channel.
  void send_summary();
  [[nodiscard]] std::optional<Clock::time_point> next_due() const;
  // True if nothing waits for the sink.
  bool flush() { return !recorder_ || recorder_->flush(); }
  [[nodiscard]] bool waiting() const { return recorder_ && recorder_->waiting() > 0; }
  // To the service, if they have changed.
  void report_counters();

 private:
  [[nodiscard]] audit::Event event_of_session(audit::Kind kind) const;
  void tell(Approvals::Notice notice);
  void emit(audit::Event event);
  void record(audit::Event event);
  void record_losses(Clock::time_point now, bool at_the_end);
  [[nodiscard]] uint64_t lost() const;

  SessionOptions& options_;
  const policy::Layers& layers_;
  ClientChannel& client_;
  std::optional<audit::Recorder> recorder_;
  Denials denials_;
  audit::Repeats repeats_;
  wire::CounterReport counters_;  // that were reported last
};

}  // namespace wrapd::supervisor
