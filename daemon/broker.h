// SPDX-License-Identifier: Apache-2.0
#pragma once

// The matchmaker. A connection on the control socket makes one request; the broker asks the kernel who that is, picks
// the policy, makes the per-caller sockets, starts a supervisor and hands the connection over to it. Nothing here waits
// for a peer, a name service or a large policy: each connection is a small state machine with its own deadline, and
// what one user has is counted against that user alone.
//
//   request ── who, may they? ──> passwd entry (thread) ──> plan (thread, cached) ──> sockets, supervisor ──> gone
//
// Every refusal is one error reply, one record (rate-limited per user), and the end of the connection.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/catalogue.h"
#include "daemon/disposal.h"
#include "daemon/event_loop.h"
#include "daemon/journal.h"
#include "daemon/plan_cache.h"
#include "daemon/quota.h"
#include "daemon/session_directory.h"
#include "daemon/session_table.h"
#include "daemon/supervisor_pool.h"
#include "daemon/supervisor_process.h"
#include "daemon/user_directory.h"

namespace wrapd::daemon {

class Broker {
 public:
  static constexpr std::chrono::seconds kRequestDeadline{2};
  static constexpr std::chrono::seconds kPrepareDeadline{5};

  struct Parts {
    UniqueFd control;  // listening, non-blocking
    RuntimeDirectory runtime;
    std::string supervisor;  // path of the program
    SupervisorIds supervisor_ids;
    std::shared_ptr<const Catalogue> catalogue;
  };
  [[nodiscard]] static Result<std::unique_ptr<Broker>> create(EventLoop& loop, Journal& journal, Parts parts);
  ~Broker();

  // From now on; what is being opened keeps the old one.
  void use(std::shared_ptr<const Catalogue> catalogue) { parts_.catalogue = std::move(catalogue); }

 private:
  struct Connection;
  struct Refusal {
    std::string code;  // of wire::ErrorReply
    std::string message;
  };

  Broker(EventLoop& loop, Journal& journal, Parts parts);
  [[nodiscard]] Result<> start();

  // Newcomers.
  [[nodiscard]] Result<> listen();
  void on_newcomers();
  void on_accept_failure(int error);
  void pause_accepting();
  [[nodiscard]] bool shed_newcomer();
  void admit(UniqueFd socket);
  [[nodiscard]] Result<> watch(Connection& connection);

  // The way of a request; each step ends in the next, in refuse() or in drop().
  void on_readable(Connection& connection);
  [[nodiscard]] Result<> receive_request(Connection& connection);
  void on_request(Connection& connection);
  void find_user(Connection& connection);
  void find_plan(Connection& connection);
  void open_session(Connection& connection, const PreparedPlan& plan);

  // nullopt: go on.
  [[nodiscard]] std::optional<Refusal> check_caller(Connection& connection);
  [[nodiscard]] std::optional<Refusal> pick_policy(Connection& connection);
  [[nodiscard]] std::optional<Refusal> take_session(Connection& connection);
  [[nodiscard]] Result<> start_supervisor(Connection& connection, const PreparedPlan& plan);

  void refuse(Connection& connection, const Refusal& refusal);
  void drop(Connection& connection);
  void sweep();

  EventLoop& loop_;
  Journal& journal_;
  Parts parts_;
  Quota pending_;
  Quota open_sessions_;
  SessionTable sessions_;
  SupervisorPool supervisors_;
  std::unique_ptr<Disposal> disposal_;
  std::unique_ptr<UserDirectory> users_;
  std::unique_ptr<PlanCache> plans_;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t next_connection_ = 1;
  UniqueFd reserve_;  // given up for a moment to refuse a newcomer when there are no descriptors left
  EventSource newcomers_;
  EventSource pause_;
  EventSource sweeper_;
};

// Sends one error reply and reads away what the peer has sent: unread data would turn the reply into a reset. False if
// messages are left, because they bring descriptors: then closing `socket` may block (disposal.h).
[[nodiscard]] bool send_refusal(int socket, const std::string& code, const std::string& message);

}  // namespace wrapd::daemon
