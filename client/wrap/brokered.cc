// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <vector>

#include "client/wrap/broker.h"
#include "client/wrap/confine/landlock.h"
#include "client/wrap/event_log.h"
#include "client/wrap/launch.h"
#include "client/wrap/report.h"
#include "client/wrap/run.h"
#include "client/wrap/tree.h"
#include "client/wrap/watch.h"

namespace wrapd::client {
namespace {

// Gives the supervisor the command: its listener and who it is. Once this has succeeded, CMD may be let go.
Result<> hand_over(const OpenSession& session, Launch& launch) {
  const wire::SessionReply& reply = session.reply;
  auto signal = connect_handoff(reply, wire::HandoffKind::signal);
  if (!signal) return std::unexpected(signal.error());
  if (auto sent = send_handoff(signal->get(), wire::HandoffKind::signal, reply.signal_token, launch.pidfd()); !sent) {
    return sent;
  }
  std::vector<int> connections{signal->get()};
  UniqueFd notify;
  if (reply.confinement.filtered) {
    auto connected = connect_handoff(reply, wire::HandoffKind::notify);
    if (!connected) return std::unexpected(connected.error());
    notify = std::move(*connected);
    connections.push_back(notify.get());
    // Closed as soon as it is sent: a copy of ours would turn the supervisor's death into a hang.
    UniqueFd listener = launch.take_listener();
    auto sent = send_handoff(notify.get(), wire::HandoffKind::notify, reply.notify_token, listener.get());
    if (!sent) return sent;
  }
  return await_acceptance(connections, session.control.get(), launch.pidfd());
}

}  // namespace

Result<int> run_brokered(const Options& options, InheritedSignals& signals) {
  std::optional<CompiledProfile> profile;
  if (options.profile) {
    auto compiled = compile_profile(options, *options.profile);
    if (!compiled) return std::unexpected(compiled.error());
    profile = std::move(*compiled);
  }
  std::optional<EventLog> log;
  if (options.audit_log && options.action == Options::Action::run) {
    auto opened = EventLog::open(*options.audit_log, options.audit_fd);
    if (!opened) return std::unexpected(opened.error());
    log = std::move(*opened);
  }
  auto cwd = working_directory();
  if (!cwd) return std::unexpected(cwd.error());
  wire::OpenRequest request{.command = shown_command(options),
                            .cwd = std::move(*cwd),
                            .policy = options.policy,
                            .profile = profile.has_value(),
                            .traps = profile ? profile->confinement.traps : plan::TrapSet(),
                            .events = log.has_value()};
  // Escaping makes some bytes six: what is only shown gives way.
  while (wire::encode(request).size() > wire::kMaxOpenRequest && !request.command.empty()) {
    request.command.resize(request.command.size() / 2);
  }
  auto session = open_session(options.control, request, profile ? profile->rules.get() : -1);
  if (!session) return std::unexpected(session.error());
  const wire::SessionReply& reply = session->reply;
  if (options.action == Options::Action::explain) {
    print(STDOUT_FILENO, explain(reply, profile ? &*profile : nullptr, options.profile.value_or(""),
                                 session->filter.instructions().size()));
    return 0;
  }
  if (profile && profile->confinement.filtered && !reply.confinement.filtered) {
    return fail("policy " + printable(reply.policy, 256) +
                " is disabled, and the profile cannot be enforced with it; "
                "use another policy, or --standalone");
  }
  print_notices(options, reply.notices);
  if (profile) print_notices(options, profile->notices);

  ExecPlan exec(options.command, std::getenv("PATH"), environ);
  Domain domain;
  if (reply.confinement.filtered) {
    auto made = make_domain(profile ? plan::narrowed(reply.confinement, profile->confinement) : reply.confinement,
                            landlock_abi());
    if (!made) return std::unexpected(made.error());
    domain = std::move(*made);
    if (domain.notice) print_notices(options, {*domain.notice});
  }
  kernel::Bystanders bystanders = bystanders_here(reply.confinement.filtered);
  auto launch = Launch::start({.exec = &exec,
                               .signals = &signals,
                               .confined = {domain.ruleset.get(), session->filter.instructions()},
                               .keep_fds = options.keep_fds});
  if (!launch) return std::unexpected(launch.error());
  if (auto taken = hand_over(*session, *launch); !taken) return std::unexpected(taken.error());

  auto watch = Watch::create();
  if (!watch) return std::unexpected(watch.error());
  StatusReport report(options.status_fd);
  report.started(reply.id, launch->pid());
  launch->go();
  WatchSpec spec{.pid = launch->pid(),
                 .pidfd = launch->pidfd(),
                 .control = session->control.get(),
                 .log = log ? &*log : nullptr,
                 .quiet = options.quiet,
                 .bystanders = std::move(bystanders)};
  SummaryContext context{.profile_file = options.profile.value_or(""),
                         .profile_policy = profile ? profile->policy : ""};
  return see_through(options, *watch, spec, exec, &*launch, context);
}

}  // namespace wrapd::client
