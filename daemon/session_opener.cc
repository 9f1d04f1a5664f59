// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_opener.h"

#include <chrono>
#include <cstdio>
#include <utility>

#include "base/io.h"
#include "daemon/call_shares.h"
#include "policy/notices.h"
#include "policy/rules.h"

namespace wrapd::daemon {
namespace {

// No hand-off lasts longer than two steps of a session; what is older has no session any more.
constexpr std::chrono::seconds kSessionDirectoryAge = 2 * SessionTable::kStepDeadline + std::chrono::seconds(1);

}  // namespace

Result<std::unique_ptr<SessionOpener>> SessionOpener::create(Surroundings surroundings, const std::string& supervisor) {
  std::unique_ptr<SessionOpener> opener(new SessionOpener(surroundings, supervisor));
  auto records = RecordShares::create(surroundings.loop, surroundings.journal, surroundings.sessions.places(),
                                      surroundings.runtime.top.get());
  if (!records) return std::unexpected(records.error());
  opener->records_ = std::move(*records);
  surroundings.sessions.on_running([pool = &opener->supervisors_] { pool->session_runs(); });
  opener->sweep();
  return opener;
}

SessionOpener::~SessionOpener() {
  sessions_.on_running(nullptr);
}

void SessionOpener::sweep() {
  sweeper_.reset();
  auto young =
      sweep_sessions(runtime_, kSessionDirectoryAge, [this](std::string_view id) { return sessions_.contains(id); });
  if (!young) return static_cast<void>(std::fprintf(stderr, "wrapd: %s\n", young.error().message.c_str()));
  if (*young == 0) return;
  auto timer = loop_.after(kSessionDirectoryAge, [this] { sweep(); });
  if (timer) sweeper_ = std::move(*timer);  // else the next start does it
}

wire::SupervisorConfig SessionOpener::config_for(const Opening& opening, const PreparedPlan& plan,
                                                 const SessionDirectory& directory) {
  wire::SupervisorConfig config;
  config.own_uid = opening.ids.uid;
  config.own_gid = opening.ids.gid;
  config.uid = opening.peer.uid;
  config.gid = opening.peer.gid;
  config.groups = opening.peer.groups;
  config.client_pid = opening.peer.pid;
  config.command = opening.request.command;
  config.events = opening.request.events;
  config.profile = opening.request.profile;
  config.record_slot = records_->slot_of(opening.user);
  config.waiting_calls = CallShares::next(sessions_.calls(), opening.user);
  config.reply.id = directory.id();
  config.reply.directory = directory.path();
  config.reply.notify_token = random_hex(32);
  config.reply.signal_token = random_hex(32);
  config.reply.ptrace_token = random_hex(32);
  config.reply.policy = opening.policy_name;
  config.reply.mode = policy::to_string(opening.policy.policy.effective_mode());
  config.reply.confinement = plan.confinement;
  config.reply.notices = policy::notices(opening.policy.policy, "policy");
  return config;
}

Result<SupervisorProcess> SessionOpener::start_supervisor(SessionFacts& facts, const wire::SupervisorConfig& config,
                                                          std::span<const int> fds) {
  auto give = [&](const SupervisorProcess& process) -> Result<> {
    facts.supervisor_pid = process.pid;
    auto record = seal_session_facts(facts);
    if (!record) return std::unexpected(record.error());
    const int stored[FdStore::kPerSession] = {process.channel.get(), process.pidfd.get(), record->get()};
    if (auto kept = store_.store(FdStore::name_of(facts.id), stored); !kept) return kept;
    return process.configure(config, fds);
  };
  Error error;
  // The one that waits may have died; a new one is the second try.
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto process = supervisors_.take();
    if (!process) return process;
    auto given = give(*process);
    if (given) return process;
    error = given.error();
    if (auto ended = kill_and_reap(process->pidfd.get()); !ended) error.message += "; " + ended.error().message;
    store_.remove(FdStore::name_of(facts.id));
  }
  return std::unexpected(error);
}

Result<std::string> SessionOpener::open(Opening opening, const PreparedPlan& plan) {
  auto directory = SessionDirectory::create(runtime_, opening.peer.uid, opening.permissive_fallback);
  if (!directory) return std::unexpected(directory.error());
  const auto config = config_for(opening, plan, *directory);
  const auto& listeners = directory->listeners();
  const int fds[wire::kConfigFds] = {opening.socket, listeners[0].get(), listeners[1].get(), listeners[2].get(),
                                     opening.root,   plan.rules.get(),   plan.filter.get(),  records_->fd()};

  SessionFacts facts{.id = config.reply.id,
                     .uid = config.uid,
                     .client_pid = config.client_pid,
                     .policy = config.reply.policy,
                     .policy_digest = opening.policy.digest,
                     .mode = config.reply.mode,
                     .since = std::chrono::system_clock::now(),
                     .command = config.command,
                     .waiting_calls = config.waiting_calls};
  if (auto given = closer_.give(opening.hold); !given) return std::unexpected(given.error());
  auto process = start_supervisor(facts, config, fds);
  if (!process) return std::unexpected(process.error());
  std::string id = facts.id;
  auto added = sessions_.add(std::move(facts), std::move(*directory), std::move(*process), std::move(opening.place));
  if (!added) return std::unexpected(added.error());
  return id;
}

}  // namespace wrapd::daemon
