// SPDX-License-Identifier: Apache-2.0
#include "daemon/broker.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/io.h"
#include "daemon/caller.h"
#include "daemon/session_policy.h"
#include "kernel/process_table.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

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
  ConnectionCloser::Hold hold;
  uint64_t user = 0;  // whom it counts as
  Standing standing = Standing::no_account;
  Quota::Ticket pending;
  Quota::Ticket waiting;
  std::optional<std::list<uint64_t>::iterator> unread;
  bool watched = false;
  EventSource deadline;
  // Of who asked over the bus; empty for the control socket.
  OpenDone done;
  UniqueFd theirs;

  wire::OpenRequest request;
  bool account = false;  // known to have one
  UniqueFd pidfd;
  CallerPlace place;
  std::string policy_name;
  std::shared_ptr<const CataloguePolicy> policy;
  policy::Variables variables;
  Quota::Ticket session;
};

Result<std::unique_ptr<Broker>> Broker::create(Surroundings surroundings, Parts parts) {
  std::unique_ptr<Broker> broker(new Broker(surroundings, std::move(parts)));
  if (auto started = broker->start(); !started) return std::unexpected(started.error());
  return broker;
}

Broker::Broker(Surroundings surroundings, Parts parts)
    : loop_(surroundings.loop),
      journal_(surroundings.journal),
      closer_(surroundings.closer),
      users_(surroundings.users),
      sessions_(surroundings.sessions),
      store_(surroundings.store),
      runtime_(surroundings.runtime),
      parts_(std::move(parts)) {}

// Not here: one whose keeper died in this very moment is left to the end of the process.
Broker::~Broker() {
  for (auto& [id, connection] : connections_) static_cast<void>(connection->socket.release());
}

Result<> Broker::start() {
  auto plans = PlanCache::create(loop_, {});
  if (!plans) return std::unexpected(plans.error());
  plans_ = std::move(*plans);
  auto opener = SessionOpener::create({.loop = loop_,
                                       .journal = journal_,
                                       .closer = closer_,
                                       .sessions = sessions_,
                                       .store = store_,
                                       .runtime = runtime_},
                                      parts_.supervisor);
  if (!opener) return std::unexpected(opener.error());
  opener_ = std::move(*opener);
  auto requests = IoGroup::create(loop_, [this](uint64_t id) { on_readable(id); });
  if (!requests) return std::unexpected(requests.error());
  requests_ = std::move(*requests);
  proc_.reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc_) return fail_errno("cannot open /proc");
  acceptor_ = std::make_unique<ControlAcceptor>(
      loop_, closer_, std::move(parts_.control),
      ControlAcceptor::Reception{
          .admit = [this](UniqueFd socket, ConnectionCloser::Hold hold) { admit(std::move(socket), hold); },
          .turn_away = [this](UniqueFd socket, ConnectionCloser::Hold hold) { turn_away(std::move(socket), hold); }});
  return acceptor_->start();
}

// ---- new connections

void Broker::admit(UniqueFd socket, ConnectionCloser::Hold hold) {
  auto peer = peer_credentials(socket.get(), false);
  if (!peer) return closer_.close(std::move(socket), hold, 0);  // gone already
  Connection& connection = enter(std::move(socket), hold, std::move(*peer));
  if (auto refusal = count_pending(connection)) return refuse(connection, *refusal);
  if (auto watched = watch(connection); !watched) refuse(connection, {"internal", watched.error().message});
}

// There are no descriptors left.
void Broker::turn_away(UniqueFd socket, ConnectionCloser::Hold hold) {
  uint64_t user = 0;
  if (auto peer = peer_credentials(socket.get(), false)) {
    user = parts_.subordinate_ids->user_of(peer->uid);
    journal_.reject(peer->uid, peer->pid, "limit: no descriptors left");
  }
  send_refusal(socket.get(), "limit", "the service has no file descriptors left; try again later");
  closer_.close(std::move(socket), hold, user);
}

Broker::Connection& Broker::enter(UniqueFd socket, ConnectionCloser::Hold hold, PeerCredentials peer) {
  parts_.on_connection();
  auto owned = std::make_unique<Connection>();
  Connection& connection = *owned;
  connection.id = next_connection_++;
  connection.socket = std::move(socket);
  connection.hold = hold;
  connection.user = parts_.subordinate_ids->user_of(peer.uid);
  connection.standing = standing_of(peer.uid, Standing::no_account);
  connection.peer = std::move(peer);
  connection.accepted = kernel::ticks_since_boot();
  connections_.emplace(connection.id, std::move(owned));
  return connection;
}

std::optional<Broker::Refusal> Broker::count_pending(Connection& connection) {
  const unsigned limit = parts_.catalogue->config.pending_per_user;
  if (pending_.of(connection.user) >= limit) {
    return Refusal{"limit", "you have " + std::to_string(limit) +
                                " requests waiting already (limits.pending_per_user); try again, or " +
                                kAskAdministrator};
  }
  if (!make_room(connection.standing)) {
    return Refusal{"limit", "all users together have " + std::to_string(places_.total()) +
                                " requests waiting (limits.pending); try again, or " + kAskAdministrator};
  }
  connection.pending = pending_.take(connection.user, connection.standing);
  connection.waiting = places_.take(connection.user, connection.standing);
  return std::nullopt;
}

// Subordinate ids are nobody's account; the user database is not asked about them, of which there are so many.
Standing Broker::standing_of(uid_t uid, Standing unknown) const {
  const Standing by_id = parts_.subordinate_ids->standing_of(uid);
  if (by_id != Standing::account) return by_id;
  const auto known = users_.has_entry(uid);
  if (!known) return unknown;
  return *known ? Standing::account : Standing::no_account;
}

bool Broker::make_room(Standing standing) {
  const unsigned limit = parts_.catalogue->config.pending;
  while (places_.full(limit, standing)) {
    auto longest = std::ranges::find_if(unread_, [](const auto& list) { return !list.empty(); });
    if (longest == unread_.end() || longest - unread_.begin() > static_cast<ptrdiff_t>(standing)) return false;
    refuse(*connections_.at(longest->front()),
           {"limit", "no request came, and all users together have " + std::to_string(places_.total()) +
                         " requests waiting (limits.pending); try again, or " + kAskAdministrator});
  }
  return true;
}

void Broker::wait_for_request(Connection& connection) {
  auto& list = unread_[static_cast<size_t>(connection.standing)];
  connection.unread = list.insert(list.end(), connection.id);
}

void Broker::stop_waiting(Connection& connection) {
  if (!connection.unread) return;
  unread_[static_cast<size_t>(connection.standing)].erase(*connection.unread);
  connection.unread.reset();
}

// Until the user database has answered it is a stranger's.
void Broker::find_standing(uid_t uid, uint64_t id) {
  users_.find(uid, [this, id](const Result<UserEntry>& entry) {
    auto it = connections_.find(id);
    if (!entry || it == connections_.end()) return;
    Connection& found = *it->second;
    const Standing now = standing_of(found.peer.uid, Standing::no_account);
    if (now == found.standing || !found.waiting.valid()) return;
    const bool waits = found.unread.has_value();
    stop_waiting(found);
    found.standing = now;
    found.waiting = places_.take(found.user, now);
    if (waits) wait_for_request(found);
  });
}

void Broker::open(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd, OpenDone done) {
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  if (!pair) {
    std::fprintf(stderr, "wrapd: cannot open a session for uid %u: %s\n", caller.uid, pair.error().message.c_str());
    return done(std::unexpected(ApiError{.code = "Internal", .message = pair.error().message}));
  }
  Connection& connection = enter(std::move(pair->ours), {}, caller);
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
  if (auto watched = requests_->add(connection.socket.get(), connection.id); !watched) return watched;
  connection.watched = true;
  auto deadline = loop_.after(kRequestDeadline, [this, &connection] {
    refuse(connection, {"bad-request", "no request within " + std::to_string(kRequestDeadline.count()) + " seconds"});
  });
  if (!deadline) return std::unexpected(deadline.error());
  connection.deadline = std::move(*deadline);
  wait_for_request(connection);
  const uid_t uid = connection.peer.uid;
  const bool asks = parts_.subordinate_ids->standing_of(uid) == Standing::account && !users_.has_entry(uid);
  if (asks) find_standing(uid, connection.id);
  return {};
}

void Broker::refuse(Connection& connection, const Refusal& refusal) {
  journal_.reject(connection.peer.uid, connection.peer.pid, refusal.code + ": " + refusal.message);
  const OpenDone done = std::move(connection.done);
  if (!done) send_refusal(connection.socket.get(), refusal.code, refusal.message);
  drop(connection);
  if (done) done(std::unexpected(ApiError{.code = api_code(refusal.code), .message = refusal.message}));
}

void Broker::drop(Connection& connection) {
  unwatch(connection);
  stop_waiting(connection);
  closer_.close(std::move(connection.socket), connection.hold, connection.user, std::move(connection.pending));
  connections_.erase(connection.id);
}

// ---- a request

// While the number is still this connection's. A keeper's copy would keep it in the group.
void Broker::unwatch(Connection& connection) {
  if (std::exchange(connection.watched, false)) requests_->remove(connection.socket.get());
}

void Broker::on_readable(uint64_t id) {
  auto it = connections_.find(id);
  if (it == connections_.end() || !it->second->watched) return;
  Connection& connection = *it->second;
  auto next = look_at_next(connection.socket.get());
  if (!next && next.error().code == EAGAIN) return;
  if (!next) return refuse(connection, {"bad-request", next.error().message});
  if (next->size == 0 && !next->brings_descriptors) return drop(connection);
  unwatch(connection);
  stop_waiting(connection);
  if (next->size > wire::kMaxOpenRequest) {
    return refuse(connection,
                  {"bad-request", "message is longer than " + std::to_string(wire::kMaxOpenRequest) + " bytes"});
  }
  // Not taken: the receiver of a descriptor has to close it, and that may wait for its maker.
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
  if (auto refusal = check_caller(connection)) return refuse(connection, *refusal);
  auto deadline = loop_.after(kPrepareDeadline, [this, &connection] {
    refuse(connection, {"internal", "the user database or the policy's compilation took more than " +
                                        std::to_string(kPrepareDeadline.count()) + " seconds; try again"});
  });
  if (!deadline) return refuse(connection, {"internal", deadline.error().message});
  connection.deadline = std::move(*deadline);
  find_account(connection);
}

// Only where it makes a difference whether the caller has one.
void Broker::find_account(Connection& connection) {
  const auto& config = parts_.catalogue->config;
  const auto& peer = connection.peer;
  if (config.access_for(peer.uid, peer.gid, peer.groups, true) ==
      config.access_for(peer.uid, peer.gid, peer.groups, false)) {
    return on_account(connection);
  }
  users_.find(peer.uid, [this, id = connection.id](const Result<UserEntry>& entry) {
    auto it = connections_.find(id);
    if (it == connections_.end()) return;
    if (!entry) return refuse(*it->second, {"internal", entry.error().message});
    it->second->account = !entry->name.empty();
    on_account(*it->second);
  });
}

void Broker::on_account(Connection& connection) {
  std::optional<Refusal> refusal = pick_policy(connection);
  if (!refusal) refusal = take_session(connection);
  if (refusal) return refuse(connection, *refusal);
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

std::optional<Broker::Refusal> Broker::pick_policy(Connection& connection) {
  auto picked = policy_for(*parts_.catalogue, connection.peer, connection.account, connection.request.policy);
  if (!picked) return Refusal{picked.error().code, picked.error().message};
  connection.policy_name = std::move(picked->name);
  connection.policy = std::move(picked->policy);
  return std::nullopt;
}

std::optional<Broker::Refusal> Broker::take_session(Connection& connection) {
  const auto& config = parts_.catalogue->config;
  const Standing standing = standing_of(connection.peer.uid, Standing::account);
  Quota& places = sessions_.places();
  if (places.of(connection.user) >= config.sessions_per_user) {
    return Refusal{"limit", "you have " + std::to_string(config.sessions_per_user) +
                                " sessions open (limits.sessions_per_user); end one, or " + kAskAdministrator};
  }
  if (places.full(config.sessions, standing)) {
    return Refusal{"limit", "all users together have " + std::to_string(places.total()) +
                                " sessions open (limits.sessions); try again later, or " + kAskAdministrator};
  }
  // A session that the manager cannot keep would be lost at the next restart.
  if (const size_t most = store_.most_sessions(); places.full(most, standing)) {
    return Refusal{"limit", "all users together have " + std::to_string(places.total()) +
                                " sessions open, as many as survive a restart of the service; try again later, or ask "
                                "the administrator (FileDescriptorStoreMax of wrapd.service)"};
  }
  connection.session = places.take(connection.user, standing);
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
  plans_->get(connection.policy, connection.variables, connection.request.traps, connection.place,
              [this, id = connection.id](const PlanCache::Prepared& plan) {
                auto it = connections_.find(id);
                if (it == connections_.end()) return;
                if (!plan) return refuse(*it->second, {"internal", plan.error().message});
                open_session(*it->second, **plan);
              });
}

void Broker::open_session(Connection& connection, const PreparedPlan& plan) {
  auto started = opener_->open({.peer = connection.peer,
                                .request = connection.request,
                                .policy_name = connection.policy_name,
                                .policy = *connection.policy,
                                .user = connection.user,
                                .socket = connection.socket.get(),
                                .root = connection.place.root.get(),
                                .hold = connection.hold,
                                .ids = parts_.supervisor_ids,
                                .permissive_fallback = parts_.catalogue->config.permissive_fallback,
                                .place = std::move(connection.session)},
                               plan);
  if (!started) {
    std::fprintf(stderr, "wrapd: cannot open a session for uid %u: %s\n", connection.peer.uid,
                 started.error().message.c_str());
    return refuse(connection, {"internal", "cannot open a session: " + started.error().message});
  }
  // The supervisor's from now on: our copy goes, so that its closing means the supervisor's end.
  const OpenDone done = std::move(connection.done);
  OpenedSession opened{.id = std::move(*started), .connection = std::move(connection.theirs)};
  drop(connection);
  if (done) done(std::move(opened));
}

}  // namespace wrapd::daemon
