// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/reporter.h"

#include <algorithm>
#include <utility>

#include "supervisor/report.h"
#include "wire/control.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kMaxEventsWaiting = 1024;  // for the sink

const char* to_string(Approvals::Notice::Kind kind) {
  constexpr const char* kWords[] = {"asked", "allowed", "denied", "expired", "withdrawn"};
  return kWords[static_cast<size_t>(kind)];
}

}  // namespace

void Denials::count(const Record& record) {
  bool wanted = record.approved || record.decision.recorded == policy::Verdict::allow ||
                record.decision.recorded == policy::Verdict::audit;
  if (record.done && wanted) {
    ++summary_.allowed;
    return;
  }
  ++(record.done ? summary_.audited : summary_.denied);

  wire::DenialLine line = denial_line(layers_, record);
  for (wire::DenialLine& known : summary_.denials) {
    if (known.operation == line.operation && known.target == line.target && known.second == line.second &&
        known.abstract == line.abstract && known.rule == line.rule && known.policy == line.policy &&
        known.reason == line.reason && known.enforced == line.enforced) {
      ++known.count;
      return;
    }
  }
  if (summary_.denials.size() < kMaxLines) {
    summary_.denials.push_back(std::move(line));
  } else {
    ++summary_.more;
  }
}

Reporter::Reporter(SessionOptions& options, const policy::Layers& layers, ClientChannel& client)
    : options_(options), layers_(layers), client_(client), denials_(layers), repeats_([this](audit::Event event) {
        emit(std::move(event));
      }) {
  if (options_.sink) recorder_.emplace(std::move(options_.sink), kMaxEventsWaiting);
}

audit::Event Reporter::event_of_session(audit::Kind kind) const {
  audit::Event event = audit::make_event(kind);
  event.pid = options_.client_pid;
  event.policy = options_.policy;
  event.mode = options_.mode;
  return event;
}

void Reporter::opened() {
  audit::Event event = event_of_session(audit::Kind::session_opened);
  event.command = options_.command;
  event.reason = options_.remarks;
  emit(std::move(event));
}

void Reporter::closed(const wire::SessionEnd& end) {
  audit::Event event = event_of_session(audit::Kind::session_closed);
  event.reason = to_string(end);
  event.allowed = denials_.summary().allowed + denials_.summary().audited;
  event.denied = denials_.summary().denied;
  repeats_.pass_all();
  record_losses(Clock::now(), true);
  if (const uint64_t events = lost(); events > 0) event.count = events;
  emit(std::move(event));
  record_losses(Clock::now(), true);  // itself may not have fitted
}

void Reporter::collect(Loop& loop, Approvals& approvals) {
  for (Approvals::Notice& notice : approvals.take_notices()) tell(std::move(notice));
  const auto now = Clock::now();
  uint64_t lost = 0;
  for (TimedRecord& timed : loop.take_records(lost)) {
    denials_.count(timed.record);
    if (options_.broker != nullptr && !timed.record.done)
      options_.broker->report_denial(call_report(layers_, timed.record, timed.tid), now);
    repeats_.add(event_of(layers_, std::move(timed)), now);
  }
  report_counters();
  if (lost == 0) return;
  denials_.count_lost(lost);
  audit::Event event = audit::make_event(audit::Kind::events_lost);
  event.count = lost;
  event.reason = "more calls than could be recorded";
  emit(std::move(event));
}

// A question: recorded, and told to the user and to the service.
void Reporter::tell(Approvals::Notice notice) {
  const bool asked = notice.kind == Approvals::Notice::Kind::asked;
  emit(event_of(notice.call, notice.question, to_string(notice.kind), notice.by));
  if (asked) {
    client_.send_now(wire::encode(wire::WaitingCall{
        .operation = notice.call.operation, .target = notice.call.target, .abstract = notice.call.abstract}));
  }
  if (options_.broker == nullptr) return;
  if (!asked) {
    options_.broker->report_gone({.question = notice.question, .how = to_string(notice.kind)});
    return;
  }
  options_.broker->report_question({.question = notice.question,
                                    .call = std::move(notice.call),
                                    .guidance = std::move(notice.guidance),
                                    .timeout_ms = 0},
                                   notice.deadline);
}

void Reporter::pass_due(Clock::time_point now) {
  repeats_.pass_due(now);
  record_losses(now, false);
}

std::optional<Reporter::Clock::time_point> Reporter::next_due() const {
  auto due = repeats_.next_due();
  const auto report = options_.budget ? options_.budget->next_report() : std::nullopt;
  return due && report ? std::min(*due, *report) : due ? due : report;
}

void Reporter::send_summary() {
  repeats_.pass_all();
  if (!client_.is_open()) return;
  (void)flush();
  wire::Summary summary = denials_.summary();
  summary.lost = lost();
  client_.push_summary(wire::encode(summary));
  (void)client_.flush();
}

void Reporter::report_counters() {
  if (options_.broker == nullptr) return;
  const wire::Summary& summary = denials_.summary();
  wire::CounterReport counters{
      .allowed = summary.allowed, .denied = summary.denied, .audited = summary.audited, .lost = lost()};
  if (counters == counters_) return;
  counters_ = counters;
  options_.broker->report(counters);
}

// Events that are in no record of their own.
uint64_t Reporter::lost() const {
  return denials_.summary().lost + (recorder_ ? recorder_->lost() : 0) +
         (options_.budget ? options_.budget->lost() : 0);
}

void Reporter::record(audit::Event event) {
  event.uid = options_.uid;
  if (recorder_) recorder_->record(std::move(event));
}

void Reporter::record_losses(Clock::time_point now, bool at_the_end) {
  if (!options_.budget) return;
  if (auto losses = options_.budget->losses(now, at_the_end)) {
    losses->session_id = options_.id;
    record(std::move(*losses));
  }
  if (!at_the_end) return;
  if (auto losses = options_.budget->losses_of_the_user(now)) record(std::move(*losses));
}

void Reporter::emit(audit::Event event) {
  event.session_id = options_.id;
  event.uid = options_.uid;
  if (options_.events && client_.is_open() &&
      !client_.push_event(wire::encode(wire::EventMessage{audit::to_json(event)})))
    denials_.count_lost(1);
  if (options_.budget && !options_.budget->admits(event, Clock::now())) return;
  record(std::move(event));
}

}  // namespace wrapd::supervisor
