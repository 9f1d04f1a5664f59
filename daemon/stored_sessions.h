// SPDX-License-Identifier: Apache-2.0
#pragma once

// Finding sessions again in what the service manager kept for us (fd_store.h). Of each name exactly one channel, one
// pidfd and one record must be there, and one order to end may be; the records must be sealed and ours and of that
// name, and the pidfd must be of the very process that the record names (or of one that has died). Anything else is
// refused whole: a descriptor that is not known to be the supervisor's must never be talked to, killed, or believed.

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/activation.h"
#include "daemon/session_record.h"
#include "daemon/supervisor_process.h"

namespace wrapd::daemon {

struct StoredSession {
  SessionFacts facts;
  SupervisorProcess process;
  std::optional<EndOrder> end;  // it was told to
};

struct RefusedEntry {
  std::string name;
  std::string why;
  std::vector<UniqueFd> fds;  // closing them may wait for strangers (connection_closer.h)
};

struct StoredSessions {
  std::vector<StoredSession> found;
  std::vector<RefusedEntry> refused;
};
[[nodiscard]] StoredSessions sort_stored_sessions(std::vector<PassedFd> fds);

// The process number behind a pidfd as our procfs shows it; -1 once it has been reaped. An error: it is no pidfd.
[[nodiscard]] Result<pid_t> pid_of_pidfd(int fd);

}  // namespace wrapd::daemon
