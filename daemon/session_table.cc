// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_table.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstdio>
#include <deque>

#include "audit/event.h"
#include "base/credentials.h"
#include "base/token_bucket.h"
#include "policy/model.h"
#include "wire/packet.h"

namespace wrapd::daemon {

using wire::EndReason;

namespace {

// Of one supervisor, before others get their turn.
constexpr int kReportsInATurn = 16;
// After everybody else who wants something of the service: supervisors must not be able to delay the others.
constexpr auto kReportsPriority = EventLoop::kNewConnections;
constexpr auto kExitPriority = EventLoop::kSessions;
static_assert(wire::kMaxReportsPerSecond > 2 * policy::kMaxApprovalRate + 20);
static_assert(wire::kMaxReportsAtOnce > 2 * policy::kMaxApprovalBurst + 500);

wire::SessionEnd death_of(const Result<std::string>& how, bool restarted) {
  if (restarted) return {EndReason::restarted};
  if (how) return {EndReason::died, "it " + *how};
  return {how.error().code == ECHILD ? EndReason::died_unseen : EndReason::died, how.error().message};
}

}  // namespace

struct SessionTable::Session {
  SessionFacts facts;
  SessionDirectory directory;
  SupervisorProcess process;
  Quota::Ticket ticket;
  Quota::Ticket calls;
  bool restored = false;
  Step step = Step::starting;
  std::optional<EndOrder> end;  // it was told to
  bool end_stored = false;
  bool stale = false;
  TokenBucket reports{wire::kMaxReportsPerSecond, wire::kMaxReportsAtOnce};
  wire::CounterReport counters;
  std::deque<std::string> orders;  // that the channel has not taken; bounded: to report, to end
  std::string why_forced;          // why it was killed; empty: it was not
  EventSource channel;
  EventSource exit;
  EventSource deadline;
};

SessionTable::SessionTable(EventLoop& loop, Journal& journal, FdStore& store, Deadlines deadlines)
    : loop_(loop), journal_(journal), store_(store), deadlines_(deadlines), questions_(loop, deadlines.answer_grace) {}

SessionTable::~SessionTable() {
  for (auto& [id, session] : sessions_) session->directory.leave();
}

void SessionTable::observe(ServiceObserver* observer) {
  observer_ = observer;
  questions_.observe(observer);
}

// ---- coming in

Result<> SessionTable::add(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                           Quota::Ticket ticket) {
  auto session = std::make_unique<Session>(Session{.facts = std::move(facts),
                                                   .directory = std::move(directory),
                                                   .process = std::move(process),
                                                   .ticket = std::move(ticket)});
  count_calls(*session);
  // The supervisor has its own copies of the listening sockets.
  session->directory.close_listeners();
  Session& s = *session;
  auto entered = enter(std::move(session));
  if (entered) return entered;
  Error error = entered.error();
  // Not waited for: it has its client's connection, and may have taken what lets nobody end.
  if (auto killed = kill_process(s.process.pidfd.get()); !killed) error.message += "; " + killed.error().message;
  const std::string id = s.facts.id;
  store_.remove(FdStore::name_of(id));
  sessions_.erase(id);
  return std::unexpected(error);
}

void SessionTable::count_calls(Session& session) {
  const Quota::Ticket& place = session.ticket;
  session.calls = calls_.take(place.user(), place.standing(), session.facts.waiting_calls);
}

Result<> SessionTable::restore(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                               std::optional<EndOrder> end, Quota::Ticket ticket) {
  // The sockets go with the hand-offs, so they tell how far it had come.
  const Step step = directory.exists() ? Step::starting : Step::running;
  auto session = std::make_unique<Session>(Session{.facts = std::move(facts),
                                                   .directory = std::move(directory),
                                                   .process = std::move(process),
                                                   .ticket = std::move(ticket),
                                                   .restored = true,
                                                   .step = step});
  count_calls(*session);
  Session& s = *session;
  if (auto entered = enter(std::move(session)); !entered) {
    const std::string id = s.facts.id;
    s.directory.leave();
    sessions_.erase(id);
    return entered;
  }
  order(s, wire::ReportOrder{});
  if (end) {
    s.end_stored = true;
    order_end(s, std::move(*end));
  }
  return {};
}

// In the table from here on, also if this fails.
Result<> SessionTable::enter(std::unique_ptr<Session> session) {
  Session& s = *session;
  sessions_.insert_or_assign(s.facts.id, std::move(session));
  if (stale_) s.stale = stale_(s.facts.policy, s.facts.policy_digest);
  auto exit = loop_.on_io(
      s.process.pidfd.get(), EPOLLIN, [this, &s](uint32_t) { on_exit(s); }, kExitPriority);
  auto channel = loop_.on_io(
      s.process.channel.get(), EPOLLIN, [this, &s](uint32_t events) { on_channel(s, events); }, kReportsPriority);
  if (!exit || !channel) return std::unexpected(!exit ? exit.error() : channel.error());
  if (auto armed = arm_for_step(s); !armed) return armed;
  s.exit = std::move(*exit);
  s.channel = std::move(*channel);
  if (observer_ != nullptr) observer_->session_added(info_of(s));
  if (on_change_) on_change_();
  return {};
}

// ---- what supervisors say

void SessionTable::on_channel(Session& session, uint32_t events) {
  if ((events & EPOLLOUT) != 0) send_orders(session);
  for (int i = 0; i < kReportsInATurn && session.channel.active(); ++i) {
    if (!read_report(session)) return;
  }
}

void SessionTable::read_remaining_reports(Session& session) {
  while (session.channel.active() && read_report(session)) {
  }
}

bool SessionTable::read_report(Session& session) {
  auto packet = wire::receive_packet(session.process.channel.get(), wire::kMaxChannelMessage, 0);
  if (!packet && packet.error().code == EAGAIN) return false;
  if (!packet) {
    end_by_force(session, EndReason::bad_report, packet.error().message);
    return false;
  }
  if (packet->eof()) {
    // Its death is seen on the pidfd; until then there is nothing more to hear.
    session.channel.reset();
    return false;
  }
  if (!session.reports.take(std::chrono::steady_clock::now())) {
    end_by_force(session, EndReason::flood);
    return false;
  }
  auto report = wire::decode_supervisor_report(packet->bytes);
  if (report) {
    on_report(session, *report);
  } else {
    end_by_force(session, EndReason::bad_report, report.error().message);
  }
  return true;
}

void SessionTable::on_report(Session& session, const wire::SupervisorReport& report) {
  Result<> good;
  if (const auto* state = std::get_if<wire::StateReport>(&report)) {
    good = on_state(session, state->state);
  } else if (const auto* counters = std::get_if<wire::CounterReport>(&report)) {
    good = on_counters(session, *counters);
  } else if (const auto* denial = std::get_if<wire::DenialReport>(&report)) {
    if (observer_ != nullptr) observer_->denied(info_of(session), *denial);
  } else if (const auto* question = std::get_if<wire::QuestionReport>(&report)) {
    good = on_question(session, *question);
  } else if (const auto* gone = std::get_if<wire::QuestionGoneReport>(&report)) {
    questions_.remove(session.facts.id, gone->question, gone->how);
  }
  if (good) return;
  end_by_force(session, good.error().code == EPROTO ? EndReason::unexpected_report : EndReason::service_fault,
               good.error().message);
}

Result<> SessionTable::on_state(Session& session, wire::SupervisorState state) {
  // Both are in the order of a session's life; a supervisor does not report that it starts.
  static_assert(static_cast<int>(Step::finished) == static_cast<int>(wire::SupervisorState::finished) + 1);
  const auto next = static_cast<Step>(static_cast<int>(state) + 1);
  if (next == session.step && session.restored) return {};
  const bool never_ran = session.step < Step::running && next == Step::terminating;
  if (next <= session.step || (never_ran && !session.restored)) {
    return fail("reported a state out of order", EPROTO);
  }
  session.step = next;
  if (next >= Step::running) session.directory.remove();
  // Its end is seen on the pidfd, and nothing is to be said before.
  if (next == Step::finished) session.channel.reset();
  if (next == Step::running && !session.restored && on_running_) on_running_();
  // Its end is recorded. Were it found again after a restart, that could not be known any more. But what was told to
  // end is not forgotten on its word.
  if (next == Step::finished && !session.end) store_.remove(FdStore::name_of(session.facts.id));
  auto armed = arm_for_step(session);
  changed(session);
  return armed;
}

// Where too many wait already nobody is asked, and the answer is no.
Result<> SessionTable::on_question(Session& session, const wire::QuestionReport& question) {
  const uint64_t user = session.ticket.user();
  if (questions_.has_room(user)) return questions_.add(session.facts, user, question, session.restored);
  const wire::AnswerOrder no{
      .question = question.question, .allow = false, .by = "the service, because too many questions of this user wait"};
  Result<> sent = fail("supervisor takes no answers");
  if (session.orders.empty()) sent = wire::send_packet(session.process.channel.get(), wire::encode(no), {}, true);
  return sent;
}

Result<> SessionTable::on_counters(Session& session, const wire::CounterReport& now) {
  const auto& before = session.counters;
  if (now.allowed < before.allowed || now.denied < before.denied || now.audited < before.audited ||
      now.lost < before.lost) {
    return fail("reported counters that went back", EPROTO);
  }
  session.counters = now;
  changed(session);
  return {};
}

// ---- deadlines and ends

Result<> SessionTable::set_deadline(Session& session, std::chrono::milliseconds limit) {
  auto timer = loop_.after(limit, [this, &session] { on_deadline(session); });
  if (!timer) return std::unexpected(timer.error());
  session.deadline = std::move(*timer);
  return {};
}

Result<> SessionTable::arm_for_step(Session& session) {
  using std::chrono::milliseconds;
  std::optional<milliseconds> limit;
  if (session.step == Step::terminating) {
    limit = deadlines_.end;
  } else if (session.step != Step::running) {
    limit = deadlines_.step;
  }
  if (session.end && session.step != Step::finished) {
    // Whatever it says how far it is.
    const auto left = std::chrono::ceil<milliseconds>(session.end->deadline - std::chrono::steady_clock::now());
    limit = std::clamp(left, milliseconds::zero(), limit.value_or(deadlines_.end));
  }
  if (limit) return set_deadline(session, *limit);
  session.deadline.reset();
  return {};
}

void SessionTable::on_deadline(Session& session) {
  // What it has said in time may still wait to be read.
  const Step before = session.step;
  read_remaining_reports(session);
  if (session.step != before || !session.why_forced.empty()) return;
  if (session.step == Step::finished) return end_by_force(session, EndReason::lingers);
  if (session.end || session.step >= Step::running) return end_by_force(session, EndReason::programs_live);
  end_by_force(session, session.step == Step::starting ? EndReason::not_ready : EndReason::no_hand_off);
}

void SessionTable::end_by_force(Session& session, EndReason reason, const std::string& detail) {
  if (!session.why_forced.empty()) return;
  const auto limit = reason == EndReason::programs_live ? deadlines_.end : deadlines_.step;
  std::string why = wire::to_string({.reason = reason, .detail = detail, .limit = limit});
  session.channel.reset();
  session.deadline.reset();
  session.orders.clear();
  session.directory.remove();
  if (auto killed = kill_process(session.process.pidfd.get()); !killed) why += "; " + killed.error().message;
  std::fprintf(stderr, "wrapd: session %s: %s\n", session.facts.id.c_str(), why.c_str());
  session.why_forced = std::move(why);
  changed(session);
}

void SessionTable::on_exit(Session& session) {
  auto end = reap(session.process.pidfd.get());
  if (!end && end.error().code == EAGAIN) return;
  read_remaining_reports(session);  // its last words
  const bool finished = session.step == Step::finished;
  if (!finished) record_end(session, end);
  if (!finished || session.end) store_.remove(FdStore::name_of(session.facts.id));
  session.step = Step::finished;
  questions_.remove_all(session.facts.id, "withdrawn");
  const SessionInfo info = info_of(session);
  sessions_.erase(info.id);
  if (observer_ != nullptr) observer_->session_removed(info);
  if (on_change_) on_change_();
}

void SessionTable::record_end(const Session& session, const Result<std::string>& end) {
  auto event = audit::make_event(audit::Kind::session_closed);
  event.session_id = session.facts.id;
  event.uid = session.facts.uid;
  event.pid = session.facts.client_pid;
  event.operation = "close";
  event.policy = session.facts.policy;
  event.mode = session.facts.mode;
  const bool restarted = session.restored && session.step == Step::starting;
  event.reason = session.why_forced.empty() ? wire::to_string(death_of(end, restarted)) : session.why_forced;
  journal_.record(std::move(event));
}

// ---- orders

void SessionTable::order(Session& session, const wire::ServiceOrder& order) {
  session.orders.push_back(wire::encode(order));
  send_orders(session);
}

void SessionTable::send_orders(Session& session) {
  while (!session.orders.empty() && session.channel.active()) {
    auto sent = wire::send_packet(session.process.channel.get(), session.orders.front(), {}, true);
    if (!sent && sent.error().code == EAGAIN) break;
    // A supervisor that does not hear any more is about to be gone, or to miss its deadline.
    if (!sent) session.orders.clear();
    if (sent) session.orders.pop_front();
  }
  if (!session.channel.active()) return session.orders.clear();
  const uint32_t events = session.orders.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  if (auto watched = session.channel.watch_for(events); !watched)
    end_by_force(session, EndReason::service_fault, watched.error().message);
}

ApiResult<> SessionTable::terminate(std::string_view id, std::string_view by) {
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return std::unexpected(ApiError{"NoSuchSession", "there is no session of this id"});
  Session& session = *found->second;
  if (session.step == Step::finished || !session.why_forced.empty()) return {};
  if (!session.end) {
    order_end(session, {.id = session.facts.id,
                        .reason = std::string(by),
                        .deadline = std::chrono::steady_clock::now() + deadlines_.end});
  }
  if (auto stored = store_end(session); !stored) {
    std::fprintf(stderr, "wrapd: session %s: its order to end: %s\n", session.facts.id.c_str(),
                 stored.error().message.c_str());
    return std::unexpected(ApiError{
        "Internal", "the session is being ended, but a restart of the service now could forget that; ask again"});
  }
  return {};
}

void SessionTable::order_end(Session& session, EndOrder end) {
  order(session, wire::TerminateOrder{.reason = end.reason});
  session.end = std::move(end);
  if (!session.why_forced.empty()) return;
  if (auto armed = arm_for_step(session); !armed)
    end_by_force(session, EndReason::service_fault, armed.error().message);
  changed(session);
}

Result<> SessionTable::store_end(Session& session) {
  if (session.end_stored || !session.why_forced.empty()) return {};
  auto record = seal_session_record(*session.end);
  if (!record) return std::unexpected(record.error());
  const int stored[] = {record->get()};
  auto sent = store_.store(FdStore::name_of(session.facts.id), stored);
  session.end_stored = sent.has_value();
  return sent;
}

ApiResult<> SessionTable::answer(std::string_view question, bool allow, std::string_view by) {
  auto asked = questions_.find_for_answer(question);
  if (!asked) return std::unexpected(asked.error());
  // A question goes with its session.
  const Session& session = *sessions_.at(asked->first);
  if (!session.channel.active()) return std::unexpected(ApiError{"NoSuchApproval", "the session is over"});
  const wire::AnswerOrder order{.question = asked->second, .allow = allow, .by = std::string(by)};
  Result<> sent = fail("other orders wait", EAGAIN);
  if (session.orders.empty()) sent = wire::send_packet(session.process.channel.get(), wire::encode(order), {}, true);
  if (!sent && sent.error().code == EAGAIN) {
    return std::unexpected(ApiError{"LimitExceeded", "the session takes no answer at the moment; try again"});
  }
  if (!sent) return std::unexpected(ApiError{"NoSuchApproval", "the session is over"});
  questions_.set_answered(question);
  return {};
}

// ---- what others see

void SessionTable::refresh_staleness(StaleCheck stale) {
  stale_ = std::move(stale);
  for (auto& [id, session] : sessions_) {
    const bool now = stale_(session->facts.policy, session->facts.policy_digest);
    if (now == std::exchange(session->stale, now)) continue;
    changed(*session);
  }
}

std::vector<SessionInfo> SessionTable::list() const {
  std::vector<SessionInfo> out;
  out.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) out.push_back(info_of(*session));
  return out;
}

std::optional<SessionInfo> SessionTable::find(std::string_view id) const {
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return std::nullopt;
  return info_of(*found->second);
}

void SessionTable::changed(const Session& session) {
  if (observer_ != nullptr) observer_->session_changed(info_of(session));
}

SessionInfo SessionTable::info_of(const Session& session) {
  SessionInfo info;
  info.id = session.facts.id;
  info.uid = session.facts.uid;
  info.leader = session.facts.client_pid;
  info.policy = session.facts.policy;
  info.mode = session.facts.mode;
  info.since = session.facts.since;
  info.command = session.facts.command;
  const uint64_t allowed = session.counters.allowed;
  info.allowed = allowed + std::min(session.counters.audited, UINT64_MAX - allowed);
  info.denied = session.counters.denied;
  info.stale = session.stale;
  if (session.step == Step::finished || !session.why_forced.empty()) {
    info.state = SessionState::closing;
  } else if (session.end || session.step == Step::terminating) {
    info.state = SessionState::terminating;
  } else if (session.step == Step::running) {
    info.state = SessionState::running;
  }
  return info;
}

}  // namespace wrapd::daemon
