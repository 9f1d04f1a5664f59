// SPDX-License-Identifier: Apache-2.0
#include "daemon/broker.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/credentials.h"
#include "base/io.h"
#include "daemon/caller.h"
#include "kernel/process_table.h"
#include "policy/notices.h"
#include "policy/rules.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

constexpr int kAcceptBatch = 16;
constexpr std::chrono::milliseconds kAcceptPause{100};
// No hand-off lasts longer than two steps of a session; what is older has no session any more.
constexpr std::chrono::seconds kSessionDirectoryAge = 2 * SessionTable::kStepDeadline + std::chrono::seconds(1);

const std::string kAskAdministrator = "the administrator can raise it in wrapd.yaml";

std::string api_code(std::string_view wire_code) {
  if (wire_code == wire::kNotPermitted) return "NotPermitted";
  if (wire_code == "unknown-policy") return "NoSuchPolicy";
  if (wire_code == "limit") return "LimitExceeded";
  if (wire_code == "confined") return "Confined";
  if (wire_code == "bad-request") return "InvalidArgument";
  return "Internal";
}

}  // namespace

struct Broker::Connection {
  uint64_t id = 0;
  UniqueFd socket;
  PeerCredentials peer;
  uint64_t accepted = 0;  // ticks since boot
  Quota::Ticket pending;
  EventSource readable;
  EventSource deadline;
  // Of who asked over the bus; empty for the control socket.
  OpenDone done;
  UniqueFd theirs;

  wire::OpenRequest request;
  UniqueFd pidfd;
  CallerPlace place;
  std::string policy_name;
  std::shared_ptr<const CataloguePolicy> policy;
  policy::Variables variables;
  Quota::Ticket session;
};

void send_refusal(int socket, const std::string& code, const std::string& message) {
  constexpr int kMaxUnread = 64;
  // What comes from now on fails at the sender (EPIPE) instead of lying here unread. A peer that has gone does not
  // mind.
  static_cast<void>(::shutdown(socket, SHUT_RD));
  for (int i = 0; i < kMaxUnread; ++i) {
    auto next = look_at_next(socket);
    if (!next || next->size == 0 || next->brings_descriptors) break;
    char byte;
    static_cast<void>(::recv(socket, &byte, 1, MSG_DONTWAIT));
  }
  auto sent = wire::send_packet(socket, wire::encode(wire::ErrorReply{.code = code, .message = message}), {}, true);
  // A peer that has gone does not need to be told; one that does not read has only itself to blame.
  static_cast<void>(sent);
}

Result<std::unique_ptr<Broker>> Broker::create(Surroundings surroundings, Parts parts) {
  std::unique_ptr<Broker> broker(new Broker(surroundings, std::move(parts)));
  if (auto started = broker->start(); !started) return std::unexpected(started.error());
  return broker;
}

Broker::Broker(Surroundings surroundings, Parts parts)
    : loop_(surroundings.loop),
      journal_(surroundings.journal),
      disposal_(surroundings.disposal),
      users_(surroundings.users),
      sessions_(surroundings.sessions),
      store_(surroundings.store),
      runtime_(surroundings.runtime),
      parts_(std::move(parts)),
      supervisors_(loop_, parts_.supervisor) {}

// The end of the process closes what strangers hold, and waits for nobody (disposal.h).
Broker::~Broker() {
  sessions_.on_running(nullptr);
  for (auto& [id, connection] : connections_) static_cast<void>(connection->socket.release());
}

Result<> Broker::start() {
  auto plans = PlanCache::create(loop_, {});
  if (!plans) return std::unexpected(plans.error());
  plans_ = std::move(*plans);
  sessions_.on_running([this] { supervisors_.session_runs(); });
  auto records = RecordShares::create(loop_, journal_, runtime_.top.get());
  if (!records) return std::unexpected(records.error());
  records_ = std::move(*records);
  reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!reserve_) return fail_errno("cannot open /dev/null");
  proc_.reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc_) return fail_errno("cannot open /proc");
  sweep();
  return listen();
}

void Broker::sweep() {
  sweeper_.reset();
  auto young =
      sweep_sessions(runtime_, kSessionDirectoryAge, [this](std::string_view id) { return sessions_.contains(id); });
  if (!young) return static_cast<void>(std::fprintf(stderr, "wrapd: %s\n", young.error().message.c_str()));
  if (*young == 0) return;
  auto timer = loop_.after(kSessionDirectoryAge, [this] { sweep(); });
  if (timer) sweeper_ = std::move(*timer);  // else the next start does it
}

// ---- newcomers

Result<> Broker::listen() {
  auto source = loop_.on_io(
      parts_.control.get(), EPOLLIN, [this](uint32_t) { on_newcomers(); }, EventLoop::kNewcomers);
  if (!source) return std::unexpected(source.error());
  newcomers_ = std::move(*source);
  return {};
}

void Broker::on_newcomers() {
  for (int i = 0; i < kAcceptBatch; ++i) {
    UniqueFd socket(::accept4(parts_.control.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      admit(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) on_accept_failure(errno);
    return;
  }
}

void Broker::on_accept_failure(int error) {
  bool full = error == EMFILE || error == ENFILE;
  if (full && shed_newcomer()) return;
  std::fprintf(stderr, "wrapd: cannot accept: %s\n", fail_errno("accept", error).error().message.c_str());
  pause_accepting();
}

// The descriptor that is kept for this moment takes the newcomer's place, so that it hears why.
bool Broker::shed_newcomer() {
  if (!reserve_) return false;
  reserve_.reset();
  UniqueFd socket(::accept4(parts_.control.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket) {
    if (auto peer = peer_credentials(socket.get(), false))
      journal_.reject(peer->uid, peer->pid, "limit: no descriptors left");
    send_refusal(socket.get(), "limit", "the service has no file descriptors left; try again later");
    disposal_.close(std::move(socket));
  }
  reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return reserve_.valid();
}

void Broker::pause_accepting() {
  auto timer = loop_.after(kAcceptPause, [this] {
    pause_.reset();
    if (!reserve_) reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (auto listening = listen(); !listening) pause_accepting();
  });
  if (!timer) return;  // keeps trying, at the cost of the processor
  pause_ = std::move(*timer);
  newcomers_.reset();
}

void Broker::admit(UniqueFd socket) {
  auto peer = peer_credentials(socket.get(), false);
  if (!peer) return disposal_.close(std::move(socket));  // gone already
  Connection& connection = enter(std::move(socket), std::move(*peer));
  if (auto refusal = count_pending(connection)) return refuse(connection, *refusal);
  if (auto watched = watch(connection); !watched) refuse(connection, {"internal", watched.error().message});
}

Broker::Connection& Broker::enter(UniqueFd socket, PeerCredentials peer) {
  parts_.on_newcomer();
  auto owned = std::make_unique<Connection>();
  Connection& connection = *owned;
  connection.id = next_connection_++;
  connection.socket = std::move(socket);
  connection.peer = std::move(peer);
  connection.accepted = kernel::ticks_since_boot();
  connections_.emplace(connection.id, std::move(owned));
  return connection;
}

std::optional<Broker::Refusal> Broker::count_pending(Connection& connection) {
  const uid_t uid = connection.peer.uid;
  const unsigned limit = parts_.catalogue->config.pending_per_user;
  if (pending_.of(uid) >= limit) {
    return Refusal{"limit", "you have " + std::to_string(limit) +
                                " requests waiting already (limits.pending_per_user); try again, or " +
                                kAskAdministrator};
  }
  connection.pending = pending_.take(uid);
  return std::nullopt;
}

void Broker::open(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd, OpenDone done) {
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  if (!pair) {
    std::fprintf(stderr, "wrapd: cannot open a session for uid %u: %s\n", caller.uid, pair.error().message.c_str());
    return done(std::unexpected(ApiError{.code = "Internal", .message = pair.error().message}));
  }
  Connection& connection = enter(std::move(pair->ours), caller);
  connection.theirs = std::move(pair->theirs);
  connection.pidfd = std::move(pidfd);
  connection.done = std::move(done);
  if (auto refusal = count_pending(connection)) return refuse(connection, *refusal);
  // As strict as a request on the control socket.
  auto checked = wire::decode_open_request(wire::encode(request));
  if (!checked) return refuse(connection, {"bad-request", checked.error().message});
  connection.request = std::move(*checked);
  on_request(connection);
}

Result<> Broker::watch(Connection& connection) {
  auto readable =
      loop_.on_io(connection.socket.get(), EPOLLIN, [this, &connection](uint32_t) { on_readable(connection); });
  if (!readable) return std::unexpected(readable.error());
  auto deadline = loop_.after(kRequestDeadline, [this, &connection] {
    refuse(connection, {"bad-request", "no request within " + std::to_string(kRequestDeadline.count()) + " seconds"});
  });
  if (!deadline) return std::unexpected(deadline.error());
  connection.readable = std::move(*readable);
  connection.deadline = std::move(*deadline);
  return {};
}

void Broker::refuse(Connection& connection, const Refusal& refusal) {
  journal_.reject(connection.peer.uid, connection.peer.pid, refusal.code + ": " + refusal.message);
  const OpenDone done = std::move(connection.done);
  if (!done) send_refusal(connection.socket.get(), refusal.code, refusal.message);
  drop(connection);
  if (done) done(std::unexpected(ApiError{.code = api_code(refusal.code), .message = refusal.message}));
}

// Ours may be the last copy, also of what a supervisor got.
void Broker::drop(Connection& connection) {
  connection.readable.reset();  // while its number is still this connection's
  disposal_.close(std::move(connection.socket), std::move(connection.pending));
  connections_.erase(connection.id);
}

// ---- a request

void Broker::on_readable(Connection& connection) {
  auto next = look_at_next(connection.socket.get());
  if (!next && next.error().code == EAGAIN) return;
  if (!next) return refuse(connection, {"bad-request", next.error().message});
  if (next->size == 0 && !next->brings_descriptors) return drop(connection);
  connection.readable.reset();
  if (next->size > wire::kMaxOpenRequest) {
    return refuse(connection,
                  {"bad-request", "message is longer than " + std::to_string(wire::kMaxOpenRequest) + " bytes"});
  }
  // Not taken: whoever takes a stranger's descriptor has to close it, and that may wait for the stranger.
  if (next->brings_descriptors) {
    return refuse(connection, {"bad-request", "the request brings descriptors; none belong to it"});
  }
  if (auto request = receive_request(connection); !request) {
    return refuse(connection, {"bad-request", request.error().message});
  }
  on_request(connection);
}

Result<> Broker::receive_request(Connection& connection) {
  auto packet = wire::receive_packet(connection.socket.get(), wire::kMaxOpenRequest, 0);
  if (!packet) return std::unexpected(packet.error());
  auto request = wire::decode_open_request(packet->bytes);
  if (!request) return std::unexpected(request.error());
  connection.request = std::move(*request);
  return {};
}

void Broker::on_request(Connection& connection) {
  std::optional<Refusal> refusal = check_caller(connection);
  if (!refusal) refusal = pick_policy(connection);
  if (!refusal) refusal = take_session(connection);
  if (refusal) return refuse(connection, *refusal);
  auto deadline = loop_.after(kPrepareDeadline, [this, &connection] {
    refuse(connection, {"internal", "the user database or the policy's compilation took more than " +
                                        std::to_string(kPrepareDeadline.count()) + " seconds; try again"});
  });
  if (!deadline) return refuse(connection, {"internal", deadline.error().message});
  connection.deadline = std::move(*deadline);
  find_user(connection);
}

// Who is at the other end of the control socket's connection, by the kernel's word.
Result<> Broker::identify(Connection& connection) const {
  auto peer = peer_credentials(connection.socket.get(), true);
  if (!peer) return std::unexpected(peer.error());
  connection.peer = std::move(*peer);
  auto pidfd = peer_pidfd(connection.socket.get());
  // Somebody may hold the connection whose maker has gone, and wait for another process with its number.
  if (!pidfd && pidfd.error().code == ENOPROTOOPT) {
    pidfd = kernel::open_process(proc_.get(), connection.peer.pid, connection.accepted);
  }
  if (!pidfd) return std::unexpected(pidfd.error());
  connection.pidfd = std::move(*pidfd);
  return {};
}

std::optional<Broker::Refusal> Broker::check_caller(Connection& connection) {
  if (!connection.done) {
    auto known = identify(connection);
    if (!known) return Refusal{"confined", "cannot tell who is asking: " + known.error().message};
  }
  if (auto free = check_unconfined(connection.peer, connection.pidfd.get()); !free) {
    return Refusal{"confined", "a confined program gets no session of the service (" + free.error().message +
                                   "); use wrap --standalone"};
  }
  auto place = open_caller_place(connection.peer, connection.pidfd.get());
  if (!place) return Refusal{"confined", place.error().message + "; use wrap --standalone"};
  connection.place = std::move(*place);
  return std::nullopt;
}

// A caller learns nothing about policies that are not meant for it: not even whether they exist.
std::optional<Broker::Refusal> Broker::pick_policy(Connection& connection) {
  const Catalogue& catalogue = *parts_.catalogue;
  const auto& peer = connection.peer;
  if (!catalogue.problem.empty()) return Refusal{"internal", catalogue.problem};
  const policy::AccessRule* access = catalogue.config.access_for(peer.uid, peer.gid, peer.groups);
  if (access == nullptr) {
    return Refusal{std::string(wire::kNotPermitted),
                   "you may not open sessions; the administrator grants it in wrapd.yaml (access)"};
  }
  connection.policy_name = connection.request.policy.value_or(access->default_policy);
  const std::string& name = connection.policy_name;
  const std::string shown = printable(name, 128);
  if (std::ranges::find(access->policies, name) == access->policies.end()) {
    return Refusal{std::string(wire::kNotPermitted),
                   "you may not use the policy " + shown + "; the administrator grants it in wrapd.yaml"};
  }
  connection.policy = catalogue.find(name);
  if (connection.policy) return std::nullopt;
  if (const auto* rejection = catalogue.rejection(name)) {
    return Refusal{"unknown-policy", "the policy " + shown + " is broken and cannot be used; ask the administrator (" +
                                         "wrapctl policy check " + printable(rejection->file, 512) + ")"};
  }
  return Refusal{"unknown-policy", "there is no policy " + shown + "; the administrator has to install it"};
}

std::optional<Broker::Refusal> Broker::take_session(Connection& connection) {
  const auto& config = parts_.catalogue->config;
  const uid_t uid = connection.peer.uid;
  Quota& places = sessions_.places();
  if (places.of(uid) >= config.sessions_per_user) {
    return Refusal{"limit", "you have " + std::to_string(config.sessions_per_user) +
                                " sessions open (limits.sessions_per_user); end one, or " + kAskAdministrator};
  }
  if (places.total() >= config.sessions) {
    return Refusal{"limit", "all users together have " + std::to_string(config.sessions) +
                                " sessions open (limits.sessions); try again later, or " + kAskAdministrator};
  }
  // A session that the manager cannot keep would be lost at the next restart.
  if (const size_t most = store_.most_sessions(); places.total() >= most) {
    return Refusal{"limit", "all users together have " + std::to_string(most) +
                                " sessions open, as many as survive a restart of the service; try again later, or ask "
                                "the administrator (FileDescriptorStoreMax of wrapd.service)"};
  }
  connection.session = places.take(uid);
  return std::nullopt;
}

void Broker::find_user(Connection& connection) {
  const VariableUse& use = connection.policy->use;
  const std::string uid = std::to_string(connection.peer.uid);
  if (use.cwd) connection.variables.cwd = connection.request.cwd;
  if (use.uid) connection.variables.uid = uid;
  if (use.xdg_runtime_dir) connection.variables.xdg_runtime_dir = "/run/user/" + uid;
  if (!use.passwd()) return find_plan(connection);
  users_.find(connection.peer.uid, [this, id = connection.id](const Result<UserEntry>& entry) {
    auto it = connections_.find(id);
    if (it == connections_.end()) return;
    Connection& found = *it->second;
    if (!entry) return refuse(found, {"internal", entry.error().message});
    if (found.policy->use.home) found.variables.home = entry->home;
    if (found.policy->use.user) found.variables.user = entry->name;
    find_plan(found);
  });
}

void Broker::find_plan(Connection& connection) {
  const plan::FilterSpec narrow{.unix_sockets = connection.request.trap_unix_sockets,
                                .renames = connection.request.trap_renames};
  plans_->get(connection.policy, connection.variables, narrow, connection.place,
              [this, id = connection.id](const PlanCache::Prepared& plan) {
                auto it = connections_.find(id);
                if (it == connections_.end()) return;
                if (!plan) return refuse(*it->second, {"internal", plan.error().message});
                open_session(*it->second, **plan);
              });
}

void Broker::open_session(Connection& connection, const PreparedPlan& plan) {
  auto started = start_supervisor(connection, plan);
  if (!started) {
    std::fprintf(stderr, "wrapd: cannot open a session for uid %u: %s\n", connection.peer.uid,
                 started.error().message.c_str());
    return refuse(connection, {"internal", "cannot open a session: " + started.error().message});
  }
  // The supervisor's from now on: our copy goes, so that its closing means the supervisor's end.
  const OpenDone done = std::move(connection.done);
  connection.pending = {};
  OpenedSession opened{.id = std::move(*started), .connection = std::move(connection.theirs)};
  drop(connection);
  if (done) done(std::move(opened));
}

wire::SupervisorConfig Broker::config_for(const Connection& connection, const PreparedPlan& plan,
                                          const SessionDirectory& directory) {
  wire::SupervisorConfig config;
  config.own_uid = parts_.supervisor_ids.uid;
  config.own_gid = parts_.supervisor_ids.gid;
  config.uid = connection.peer.uid;
  config.gid = connection.peer.gid;
  config.groups = connection.peer.groups;
  config.client_pid = connection.peer.pid;
  config.command = connection.request.command;
  config.events = connection.request.events;
  config.profile = connection.request.profile;
  config.record_slot = records_->slot_of(connection.peer.uid);
  config.reply.id = directory.id();
  config.reply.directory = directory.path();
  config.reply.notify_token = random_hex(32);
  config.reply.signal_token = random_hex(32);
  config.reply.ptrace_token = random_hex(32);
  config.reply.policy = connection.policy_name;
  config.reply.mode = policy::to_string(connection.policy->policy.effective_mode());
  config.reply.filtered = plan.filtered;
  config.reply.notices = policy::notices(connection.policy->policy, "policy");
  config.reply.scope_signal = plan.scope_signal;
  config.reply.scope_abstract = plan.scope_abstract;
  config.reply.monitor_unsupported = plan.monitor_unsupported;
  return config;
}

Result<SupervisorProcess> Broker::hire(SessionFacts& facts, const wire::SupervisorConfig& config,
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

Result<std::string> Broker::start_supervisor(Connection& connection, const PreparedPlan& plan) {
  const bool fallback = parts_.catalogue->config.permissive_fallback;
  auto directory = SessionDirectory::create(runtime_, connection.peer.uid, fallback);
  if (!directory) return std::unexpected(directory.error());
  const auto config = config_for(connection, plan, *directory);
  const auto& listeners = directory->listeners();
  const int fds[wire::kConfigFds] = {
      connection.socket.get(),     listeners[0].get(), listeners[1].get(), listeners[2].get(),
      connection.place.root.get(), plan.rules.get(),   plan.filter.get(),  records_->fd()};

  SessionFacts facts{.id = config.reply.id,
                     .uid = config.uid,
                     .client_pid = config.client_pid,
                     .policy = config.reply.policy,
                     .policy_digest = connection.policy->digest,
                     .mode = config.reply.mode,
                     .since = std::chrono::system_clock::now(),
                     .command = config.command};
  auto process = hire(facts, config, fds);
  if (!process) return std::unexpected(process.error());
  std::string id = facts.id;
  auto added =
      sessions_.add(std::move(facts), std::move(*directory), std::move(*process), std::move(connection.session));
  if (!added) return std::unexpected(added.error());
  return id;
}

}  // namespace wrapd::daemon
