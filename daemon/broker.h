// SPDX-License-Identifier: Apache-2.0
#pragma once

// The matchmaker. A connection on the control socket makes one request; the broker asks the kernel who that is, picks
// the policy, makes the per-caller sockets, starts a supervisor and hands the connection over to it. Nothing here waits
// for a peer, a name service or a large policy: each connection is a small state machine with its own deadline, and
// what one user has is counted against that user alone.
//
//   request ── who, may they? ──> passwd entry (thread) ──> plan (thread, cached) ──> sockets, supervisor ──> gone
//
// A request that came over the bus goes the same way; its connection is one end of a pair whose other end the caller
// gets with the answer.
//
// No descriptor of a stranger's is ever taken, and no connection that may hold one is closed here last
// (connection_closer.h).
//
// How many wait is bounded for each user, and for all together. Where all places are taken, the connection goes that
// has waited longest without a request: a stranger's first. One that has sent its request keeps its place.
//
// Every refusal is one error reply, one record (rate-limited per user), and the end of the connection.

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/catalogue.h"
#include "daemon/connection_closer.h"
#include "daemon/control_acceptor.h"
#include "daemon/event_loop.h"
#include "daemon/fd_store.h"
#include "daemon/io_group.h"
#include "daemon/journal.h"
#include "daemon/plan_cache.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"
#include "daemon/session_directory.h"
#include "daemon/session_opener.h"
#include "daemon/session_table.h"
#include "daemon/supervisor_process.h"
#include "daemon/user_directory.h"

namespace wrapd::daemon {

class Broker {
 public:
  static constexpr std::chrono::seconds kRequestDeadline{2};
  static constexpr std::chrono::seconds kPrepareDeadline{5};

  // Borrowed; all outlive the broker.
  struct Surroundings {
    EventLoop& loop;
    Journal& journal;
    ConnectionCloser& closer;
    UserDirectory& users;
    SessionTable& sessions;
    FdStore& store;
    const RuntimeDirectory& runtime;
  };
  struct Parts {
    UniqueFd control;        // listening, non-blocking
    std::string supervisor;  // path of the program
    SupervisorIds supervisor_ids;
    std::shared_ptr<const Catalogue> catalogue;
    std::shared_ptr<const SubordinateIds> subordinate_ids;
    std::function<void()> on_connection;
  };
  [[nodiscard]] static Result<std::unique_ptr<Broker>> create(Surroundings surroundings, Parts parts);
  ~Broker();

  // From now on; what is being opened keeps the old one.
  void use(std::shared_ptr<const Catalogue> catalogue, SupervisorIds ids,
           std::shared_ptr<const SubordinateIds> subordinate_ids) {
    parts_.catalogue = std::move(catalogue);
    parts_.subordinate_ids = std::move(subordinate_ids);
    parts_.supervisor_ids = ids;
  }

  // ServiceApi::open_session().
  using OpenDone = std::function<void(ApiResult<OpenedSession>)>;
  void open(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd, OpenDone done);

  // Nobody waits for a session.
  [[nodiscard]] bool idle() const { return connections_.empty(); }
  // For good: who connects from here on is left to the next service.
  void stop_accepting() { acceptor_->stop(); }

 private:
  struct Connection;
  struct Refusal {
    std::string code;  // of wire::ErrorReply
    std::string message;
  };

  Broker(Surroundings surroundings, Parts parts);
  [[nodiscard]] Result<> start();

  // ControlAcceptor.
  void admit(UniqueFd socket, ConnectionCloser::Hold hold);
  void turn_away(UniqueFd socket, ConnectionCloser::Hold hold);
  [[nodiscard]] Connection& enter(UniqueFd socket, ConnectionCloser::Hold hold, PeerCredentials peer);
  // nullopt: it is counted.
  [[nodiscard]] std::optional<Refusal> count_pending(Connection& connection);
  [[nodiscard]] Standing standing_of(uid_t uid, Standing unknown) const;
  // A place among those who wait, if need be that of one who has waited longer.
  [[nodiscard]] bool make_room(Standing standing);
  void find_standing(uid_t uid, uint64_t id);
  void wait_for_request(Connection& connection);
  void stop_waiting(Connection& connection);
  [[nodiscard]] Result<> watch(Connection& connection);

  // The way of a request; each step ends in the next, in refuse() or in drop().
  void on_readable(uint64_t id);
  void unwatch(Connection& connection);
  [[nodiscard]] Result<> receive_request(Connection& connection);
  void on_request(Connection& connection);
  void find_account(Connection& connection);
  void on_account(Connection& connection);
  void find_user(Connection& connection);
  void find_plan(Connection& connection);
  void open_session(Connection& connection, const PreparedPlan& plan);

  [[nodiscard]] Result<> identify(Connection& connection) const;
  // nullopt: go on.
  [[nodiscard]] std::optional<Refusal> check_caller(Connection& connection);
  [[nodiscard]] std::optional<Refusal> pick_policy(Connection& connection);
  [[nodiscard]] std::optional<Refusal> take_session(Connection& connection);

  void refuse(Connection& connection, const Refusal& refusal);
  void drop(Connection& connection);

  EventLoop& loop_;
  Journal& journal_;
  ConnectionCloser& closer_;
  UserDirectory& users_;
  SessionTable& sessions_;
  FdStore& store_;
  const RuntimeDirectory& runtime_;
  Parts parts_;
  Quota pending_;                              // of each user, what is still being closed included
  Quota places_;                               // of all users together
  std::array<std::list<uint64_t>, 3> unread_;  // no request yet; by standing, the longest first
  std::unique_ptr<SessionOpener> opener_;
  std::unique_ptr<PlanCache> plans_;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t next_connection_ = 1;
  std::unique_ptr<IoGroup> requests_;  // those who have not asked yet
  UniqueFd proc_;
  std::unique_ptr<ControlAcceptor> acceptor_;
};

}  // namespace wrapd::daemon
