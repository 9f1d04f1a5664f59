// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_table.h"

#include <sys/epoll.h>

#include <cstdio>

#include "audit/event.h"
#include "wire/packet.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {

struct SessionTable::Session {
  SessionFacts facts;
  SessionDirectory directory;
  SupervisorProcess process;
  Quota::Ticket ticket;
  Step step = Step::starting;
  std::string why_forced;  // why it was killed; empty: it was not
  EventSource channel;
  EventSource exit;
  EventSource deadline;
};

SessionTable::SessionTable(EventLoop& loop, Journal& journal, std::chrono::milliseconds step_deadline)
    : loop_(loop), journal_(journal), step_deadline_(step_deadline) {}

SessionTable::~SessionTable() {
  for (auto& [id, session] : sessions_) session->directory.leave();
}

Result<> SessionTable::add(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                           Quota::Ticket ticket) {
  auto session = std::make_unique<Session>(Session{.facts = std::move(facts),
                                                   .directory = std::move(directory),
                                                   .process = std::move(process),
                                                   .ticket = std::move(ticket)});
  Session& s = *session;
  // The supervisor has its own copies of the listening sockets.
  s.directory.close_listeners();
  auto exit = loop_.on_io(
      s.process.pidfd.get(), EPOLLIN, [this, &s](uint32_t) { on_exit(s); }, EventLoop::kSessions);
  auto channel = loop_.on_io(
      s.process.channel.get(), EPOLLIN, [this, &s](uint32_t) { on_channel(s); }, EventLoop::kSessions);
  auto deadline = set_deadline(s);
  if (!exit || !channel || !deadline) {
    auto error = !exit ? exit.error() : !channel ? channel.error() : deadline.error();
    if (auto killed = kill_process(s.process.pidfd.get()); !killed) error.message += "; " + killed.error().message;
    return std::unexpected(error);
  }
  s.exit = std::move(*exit);
  s.channel = std::move(*channel);
  sessions_.emplace(s.directory.id(), std::move(session));
  return {};
}

Result<> SessionTable::set_deadline(Session& session) {
  auto timer = loop_.after(step_deadline_, [this, &session] { on_deadline(session); });
  if (!timer) return std::unexpected(timer.error());
  session.deadline = std::move(*timer);
  return {};
}

void SessionTable::on_channel(Session& session) {
  for (;;) {
    auto packet = wire::receive_packet(session.process.channel.get(), wire::kMaxChannelMessage, 0);
    if (!packet && packet.error().code == EAGAIN) return;
    if (!packet) return end_by_force(session, "supervisor sent what it may not: " + packet.error().message);
    if (packet->eof()) {
      // Its death is seen on the pidfd; until then there is nothing more to hear.
      session.channel.reset();
      return;
    }
    auto report = wire::decode_supervisor_report(packet->bytes);
    if (!report) return end_by_force(session, "supervisor sent what it may not: " + report.error().message);
    if (const auto* state = std::get_if<wire::StateReport>(&*report)) on_state(session, state->state);
  }
}

void SessionTable::on_state(Session& session, wire::SupervisorState state) {
  using wire::SupervisorState;
  Result<> armed;
  if (state == SupervisorState::ready && session.step == Step::starting) {
    session.step = Step::handing_off;
    armed = set_deadline(session);
  } else if (state == SupervisorState::running && session.step == Step::handing_off) {
    session.step = Step::running;
    session.deadline.reset();
    session.directory.remove();
  } else if (state == SupervisorState::finished) {
    session.step = Step::finished;
    session.directory.remove();
    armed = set_deadline(session);
  } else {
    return end_by_force(session, "supervisor reported a state out of order");
  }
  if (!armed) end_by_force(session, armed.error().message);
}

void SessionTable::on_deadline(Session& session) {
  const std::string limit = std::to_string(step_deadline_.count()) + " ms";
  switch (session.step) {
    case Step::starting:
      return end_by_force(session, "supervisor was not ready within " + limit + " and was killed");
    case Step::handing_off:
      return end_by_force(session, "the hand-offs were not done within " + limit + "; the supervisor was killed");
    case Step::finished:
      return end_by_force(session, "supervisor had finished but did not exit and was killed");
    case Step::running:
      return;
  }
}

void SessionTable::end_by_force(Session& session, std::string why) {
  if (!session.why_forced.empty()) return;
  session.channel.reset();
  session.deadline.reset();
  session.directory.remove();
  if (auto killed = kill_process(session.process.pidfd.get()); !killed) why += "; " + killed.error().message;
  std::fprintf(stderr, "wrapd: session %s: %s\n", session.directory.id().c_str(), why.c_str());
  session.why_forced = std::move(why);
}

void SessionTable::on_exit(Session& session) {
  // Its last words may still wait.
  if (session.channel.active()) on_channel(session);
  auto end = reap(session.process.pidfd.get());
  if (!end && end.error().code == EAGAIN) return;
  const std::string how = end ? end->text : end.error().message;
  if (session.step != Step::finished) {
    auto event = audit::make_event(audit::Kind::session_closed);
    event.session_id = session.directory.id();
    event.uid = session.facts.uid;
    event.pid = session.facts.client_pid;
    event.operation = "close";
    event.policy = session.facts.policy;
    event.mode = session.facts.mode;
    event.reason = session.why_forced.empty() ? "supervisor died: it " + how : session.why_forced;
    journal_.record(std::move(event));
  }
  sessions_.erase(sessions_.find(session.directory.id()));
}

}  // namespace wrapd::daemon
