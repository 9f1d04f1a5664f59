// SPDX-License-Identifier: Apache-2.0
#pragma once

// wrap while CMD runs. It stays in CMD's process group and session: what the terminal sends, both get, and wrap lets
// CMD decide; what a process sends to wrap is passed on to CMD. When CMD stops, wrap stops as well, so that the shell
// sees a stopped job, and continues CMD when it is continued. If the control channel closes, the supervisor is gone,
// and the tree goes with it.

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrap/event_log.h"
#include "kernel/bystanders.h"
#include "wire/control.h"

namespace wrapd::client {

// A change of state of CMD, as in siginfo_t of waitid(2); also the message in which a standalone supervisor, whose
// child CMD is, tells wrap about it.
struct ChildReport {
  static constexpr int32_t kExecFailed = -1;  // there is no CMD: execve(2) failed, `status` is its errno
  int32_t code = 0;                           // CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_STOPPED, CLD_CONTINUED
  int32_t status = 0;                         // exit status or signal
};

// Takes the next change of state of one of our children, which may also be an orphan of CMD's; nothing: there is none.
[[nodiscard]] std::optional<siginfo_t> next_child_change();

struct WatchSpec {
  pid_t pid = -1;
  int pidfd = -1;           // of CMD
  int control = -1;         // to the supervisor
  int reports = -1;         // where ChildReports come from; -1: CMD is our own child
  EventLog* log = nullptr;  // where events go; nullptr: nowhere
  bool quiet = false;       // does not tell of calls that wait for an answer
  // Who is not ended with the session; of bystanders_here(), before CMD's process was there.
  kernel::Bystanders bystanders = {};
};

class Watch {
 public:
  // Blocks the watched signals from now on: call it just before CMD is let go.
  [[nodiscard]] static Result<Watch> create();

  // Returns wrap's exit status once CMD has ended. Fails, with everything of the session's killed, if the supervisor
  // goes first.
  [[nodiscard]] Result<int> run(const WatchSpec& spec);

  // What a report said that execve(2) failed with; 0: none did.
  [[nodiscard]] int exec_error() const { return exec_error_; }

  // Who ended the session from outside, if somebody did. Bytes: to be escaped.
  [[nodiscard]] const std::optional<std::string>& terminated() const { return terminated_; }

  // Asks for the summary, and takes the events that come before it. None if the supervisor has none in time.
  [[nodiscard]] std::optional<wire::Summary> finish(std::chrono::milliseconds timeout);

 private:
  Watch() = default;
  void read_signals();
  void reap();
  void read_reports();
  void note(const ChildReport& report);
  void follow_stop();
  void send_to_command(int signal) const;
  // False at the end of the channel, and for a message that is none.
  [[nodiscard]] bool read_control();
  [[nodiscard]] Error end_tree(std::string_view reason) const;
  [[nodiscard]] Result<> supervisor_gone();
  void follow_termination();

  WatchSpec spec_;
  UniqueFd signals_;
  std::optional<int> exit_status_;
  int exec_error_ = 0;
  int stopped_by_ = 0;  // signal that CMD is stopped by; 0: it runs
  bool stop_followed_ = false;
  bool control_open_ = true;
  std::optional<wire::Summary> summary_;
  std::optional<std::string> terminated_;
};

}  // namespace wrapd::client
