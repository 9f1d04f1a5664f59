// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whether a call that waits must end because its task has a signal to handle, or must stop or die of one.
// WAIT_KILLABLE_RECV holds back every signal that does not kill at once; natively a wait would end.
//
// ERESTARTSYS ends a call as natively: on the way back the kernel makes it EINTR, or begins the call anew where the
// handler is SA_RESTART, or where there is none: after a stop. But it does so only in a task that it has marked
// (TIF_SIGPENDING); in any other one the number itself reaches the program. The mark cannot be read. It is certain
// - for a signal that was sent to the thread, and for one that was sent to the process if that has no other thread,
// - for a signal without a handler (^Z, SIGSTOP, SIGQUIT) in the main thread, which kill(2) and terminals mean first;
//   if that one is not marked for it, it has been marked already,
// - for every thread of a process of which one is stopped (do_signal_stop(), kernel/signal.c),
// - for a signal of the process if the kernel can have marked none of the other threads in this one's place.
// Which one it marks depends on the sender (complete_signal(), kernel/signal.c): the main thread for kill(2) and
// setitimer(2), the thread that has the child for SIGCHLD, a running one for timer_create(2), else any that wants it.
// What it marks, it wakes: a thread that goes on sleeping interruptibly is not marked, nor is one that blocks the
// signal. All others may be.
//
// While that is open, the wait goes on: the signal is probably another thread's. If it stays, each thread that it may
// be for is held back, perhaps by us: then the waits of the process end one after another with EINTR, which needs no
// mark, until the signal is handled.
//
// A freezer (of a control group, or of the machine before it sleeps) shows in none of these: a task that waits here
// freezes when its wait has ended.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/tasks.h"
#include "supervisor/loop/call_slot.h"

namespace wrapd::supervisor {

class PendingSignals {
 public:
  using Clock = std::chrono::steady_clock;

  // How long no other thread must have been able to take a signal before it counts as the waiting one's.
  static constexpr std::chrono::milliseconds kSettled{20};
  // How long a signal stays before it ends a wait that it may not be for. The main thread's comes first: it is the one
  // that most senders mean.
  static constexpr std::chrono::milliseconds kGiveUp{200};
  static constexpr std::chrono::milliseconds kGiveUpOthers{300};
  // Threads listed between two begin_pass(), over all waits. A wait that gets none of them is as one in doubt.
  static constexpr size_t kThreadsPerPass = 512;

  // What was seen of one wait so far. Made anew for each.
  struct Watch {
    uint64_t signals = 0;  // for the process, to be handled, and pending at each look since
    Clock::time_point since{};
    std::optional<Clock::time_point> alone_since;
  };

  explicit PendingSignals(kernel::Tasks& tasks) : tasks_(tasks) {}

  void begin_pass() { threads_left_ = kThreadsPerPass; }
  // To be called again and again while the call waits: `none`, `restart` or `interrupt`.
  [[nodiscard]] WaitEnd look(pid_t tid, Watch& watch, Clock::time_point now);

 private:
  struct Interrupted {
    pid_t process;
    Clock::time_point at;
  };
  [[nodiscard]] bool is_stopping(pid_t tid, pid_t process);
  [[nodiscard]] bool is_alone(pid_t tid, pid_t process, uint64_t signals);
  [[nodiscard]] bool may_interrupt(pid_t process, Clock::time_point now);

  kernel::Tasks& tasks_;
  size_t threads_left_ = kThreadsPerPass;
  std::vector<Interrupted> interrupted_;  // in the last kGiveUp
};

}  // namespace wrapd::supervisor
