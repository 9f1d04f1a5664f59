// SPDX-License-Identifier: Apache-2.0
#pragma once

// From a caller that gets a session to a supervisor that has its configuration: the per-caller sockets, the supervisor,
// its descriptors in the store, its place in the table.

#include <memory>
#include <span>
#include <string>

#include "base/credentials.h"
#include "base/result.h"
#include "daemon/catalogue.h"
#include "daemon/connection_closer.h"
#include "daemon/event_loop.h"
#include "daemon/fd_store.h"
#include "daemon/journal.h"
#include "daemon/plan_cache.h"
#include "daemon/quota.h"
#include "daemon/record_shares.h"
#include "daemon/session_directory.h"
#include "daemon/session_table.h"
#include "daemon/supervisor_pool.h"
#include "daemon/supervisor_process.h"
#include "wire/control.h"

namespace wrapd::daemon {

class SessionOpener {
 public:
  // Borrowed; all outlive the opener.
  struct Surroundings {
    EventLoop& loop;
    Journal& journal;
    ConnectionCloser& closer;
    SessionTable& sessions;
    FdStore& store;
    const RuntimeDirectory& runtime;
  };
  // `supervisor`: path of the program.
  [[nodiscard]] static Result<std::unique_ptr<SessionOpener>> create(Surroundings surroundings,
                                                                     const std::string& supervisor);
  ~SessionOpener();

  // What was found out about the caller and its request. The references live as long as the call.
  struct Opening {
    const PeerCredentials& peer;
    const wire::OpenRequest& request;
    const std::string& policy_name;
    const CataloguePolicy& policy;
    uint64_t user;  // whom it counts as
    int socket;     // borrowed: the supervisor gets a copy
    int root;       // borrowed: the caller's root directory
    ConnectionCloser::Hold hold;
    SupervisorIds ids;
    bool permissive_fallback;
    Quota::Ticket place;
  };
  // The session's id.
  [[nodiscard]] Result<std::string> open(Opening opening, const PreparedPlan& plan);

 private:
  SessionOpener(Surroundings surroundings, const std::string& supervisor)
      : loop_(surroundings.loop),
        closer_(surroundings.closer),
        sessions_(surroundings.sessions),
        store_(surroundings.store),
        runtime_(surroundings.runtime),
        supervisors_(surroundings.loop, supervisor) {}
  // Removes the directories of sessions that no longer exist.
  void sweep();
  [[nodiscard]] wire::SupervisorConfig config_for(const Opening& opening, const PreparedPlan& plan,
                                                  const SessionDirectory& directory);
  // Stored first, configured then: no configured supervisor is ever unknown to the store.
  [[nodiscard]] Result<SupervisorProcess> start_supervisor(SessionFacts& facts, const wire::SupervisorConfig& config,
                                                           std::span<const int> fds);

  EventLoop& loop_;
  ConnectionCloser& closer_;
  SessionTable& sessions_;
  FdStore& store_;
  const RuntimeDirectory& runtime_;
  SupervisorPool supervisors_;
  std::unique_ptr<RecordShares> records_;
  EventSource sweeper_;
};

}  // namespace wrapd::daemon
