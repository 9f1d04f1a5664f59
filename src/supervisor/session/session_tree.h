// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whose processes a session's are, so that it can be ended. They are found as what lives beneath `wrap`, which is a
// child subreaper and so the ancestor of whatever they fork; and, once `wrap` is gone, as what lives beneath a process
// that was seen in the session: one that made a trapped call, or that was beneath `wrap` when it left. A process that
// was seen by neither (forked, orphaned and silent) is ended by its next trapped call (Loop::terminate()). What `wrap`
// had started before it became `wrap` is not the session's (kernel/bystanders.h).
//
// A process is known by number and start time. None but the caller's is signalled, and by pidfd.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "kernel/bystanders.h"
#include "kernel/kernel.h"
#include "kernel/process_table.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

class SessionTree {
 public:
  using Clock = std::chrono::steady_clock;

  // `proc` is borrowed: our own /proc (O_PATH). `uid` is the caller's.
  SessionTree(int proc, uid_t uid) : proc_(proc), uid_(uid) {}

  // The process behind `leader` (a pidfd) and its parent, if that is the client: the tree's beginning. Who else lives
  // beneath the client now is a bystander (kernel/bystanders.h). To be called while the leader waits for its
  // acknowledgement: while it is the client's child, the client's number is the client's.
  void adopt(pid_t client, int leader);

  // A task in a trapped call that is not answered yet. Thread-safe, and cheap for a task that called before.
  void saw(const Notification& call, kernel::TrapSource& source);
  // Everything that is beneath the tree now is remembered. To be called when `wrap` is about to leave.
  void remember_descendants();

  // Stops everything of the tree until several looks find nothing new or `deadline` is over, then kills it: never
  // `wrap`. Returns how many were found; 0: nothing lives that can be found.
  [[nodiscard]] size_t kill_all(Clock::time_point deadline);
  // `wrap` itself. A stopped one does not hear that its command has ended.
  void signal_client(int signal) const;

 private:
  using Identity = std::pair<pid_t, uint64_t>;  // number, start time
  static constexpr size_t kMaxKnown = 16384;

  [[nodiscard]] std::vector<kernel::Process> find();
  [[nodiscard]] bool may_be_ended(const kernel::Process& process) const;
  size_t signal_found(int signal, std::span<const kernel::Process> found);
  void remember(const kernel::Process& process);

  const int proc_;
  const uid_t uid_;
  std::optional<kernel::Process> client_;
  kernel::Bystanders bystanders_;

  std::mutex lock_;
  pid_t last_ = 0;
  std::set<pid_t> callers_;  // tasks; forgotten when there are too many
  std::set<Identity> known_;
};

}  // namespace wrapd::supervisor
