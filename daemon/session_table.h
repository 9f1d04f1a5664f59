// SPDX-License-Identifier: Apache-2.0
#pragma once

// The sessions that supervisors run. The service only watches: it takes the per-caller sockets away once both hand-offs
// are done, ends a supervisor that does not get anywhere, and records the end of one that could not do so itself.
// A supervisor outlives the service; destroying the table touches none.

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/journal.h"
#include "daemon/quota.h"
#include "daemon/session_directory.h"
#include "daemon/supervisor_process.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {

// What the service itself knows about a session.
struct SessionFacts {
  uid_t uid = static_cast<uid_t>(-1);
  pid_t client_pid = 0;
  std::string policy;
  std::string mode;
};

class SessionTable {
 public:
  static constexpr std::chrono::seconds kStepDeadline{10};  // to be ready; then to be running; at last to be gone

  SessionTable(EventLoop& loop, Journal& journal, std::chrono::milliseconds step_deadline = kStepDeadline);
  ~SessionTable();

  // On failure the supervisor is killed and the directory removed.
  [[nodiscard]] Result<> add(SessionFacts facts, SessionDirectory directory, SupervisorProcess process,
                             Quota::Ticket ticket);
  [[nodiscard]] bool contains(std::string_view id) const { return sessions_.find(id) != sessions_.end(); }
  [[nodiscard]] size_t size() const { return sessions_.size(); }

 private:
  enum class Step { starting, handing_off, running, finished };
  struct Session;
  [[nodiscard]] Result<> set_deadline(Session& session);
  void on_channel(Session& session);
  void on_state(Session& session, wire::SupervisorState state);
  void on_deadline(Session& session);
  void on_exit(Session& session);
  void end_by_force(Session& session, std::string why);

  EventLoop& loop_;
  Journal& journal_;
  std::chrono::milliseconds step_deadline_;
  std::map<std::string, std::unique_ptr<Session>, std::less<>> sessions_;
};

}  // namespace wrapd::daemon
