// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop/pending_signals.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <span>

namespace wrapd::supervisor {

namespace {

constexpr uint64_t set_of(int signal) {
  return uint64_t{1} << (signal - 1);
}
constexpr uint64_t kIgnoredByDefault = set_of(SIGCHLD) | set_of(SIGCONT) | set_of(SIGURG) | set_of(SIGWINCH);

}  // namespace

WaitEnd PendingSignals::look(pid_t tid, Watch& watch, Clock::time_point now) {
  kernel::TaskStatus status;
  if (tasks_.task_status(tid, status) < 0) return WaitEnd::none;  // gone: the notification is no longer valid
  const uint64_t handled = ~status.blocked & status.caught;
  const uint64_t by_default = ~status.blocked & ~status.caught & ~status.ignored & ~kIgnoredByDefault;
  if ((status.pending & (handled | by_default)) != 0) return WaitEnd::restart;
  if (status.threads == 1)
    return (status.shared_pending & (handled | by_default)) != 0 ? WaitEnd::restart : WaitEnd::none;
  if (tid == status.tgid && (status.shared_pending & by_default) != 0) return WaitEnd::restart;
  if (is_stopping(tid, status.tgid)) return WaitEnd::restart;

  const uint64_t shared = status.shared_pending & handled;
  watch.signals &= shared;
  if (watch.signals == 0) watch = {.signals = shared, .since = now, .alone_since = {}};
  if (watch.signals == 0) return WaitEnd::none;

  if (status.threads > threads_left_ || !is_alone(tid, status.tgid, watch.signals)) {
    watch.alone_since.reset();
  } else if (!watch.alone_since) {
    watch.alone_since = now;
  } else if (now - *watch.alone_since >= kSettled) {
    return WaitEnd::restart;
  }
  if (now - watch.since < (tid == status.tgid ? kGiveUp : kGiveUpOthers)) return WaitEnd::none;
  return may_interrupt(status.tgid, now) ? WaitEnd::interrupt : WaitEnd::none;
}

// True if a thread of the process is stopped. The main thread is asked alone by the others: if it waits, too, it stops
// first.
bool PendingSignals::is_stopping(pid_t tid, pid_t process) {
  std::array<pid_t, 16> asked{process};
  if (tid == process) (void)tasks_.threads(process, asked);  // the first of many will do
  return std::ranges::any_of(asked, [&](pid_t thread) {
    kernel::TaskStatus other;
    return thread != 0 && thread != tid && tasks_.task_status(thread, other) == 0 && other.state == 'T';
  });
}

// True if the kernel can have marked no other thread of the process for the signals. False also where that is unknown.
bool PendingSignals::is_alone(pid_t tid, pid_t process, uint64_t signals) {
  std::array<pid_t, kThreadsPerPass> room{};
  const int count = tasks_.threads(process, std::span(room).first(threads_left_));
  if (count < 0) return false;
  threads_left_ -= static_cast<size_t>(count);
  for (pid_t thread : std::span(room).first(static_cast<size_t>(count))) {
    if (thread == tid) continue;
    kernel::TaskStatus other;
    if (tasks_.task_status(thread, other) < 0) return false;
    const bool unmarked = other.state == 'S' || other.state == 'Z' || other.state == 'X';
    if (!unmarked && (signals & ~other.blocked) != 0) return false;
  }
  return true;
}

bool PendingSignals::may_interrupt(pid_t process, Clock::time_point now) {
  std::erase_if(interrupted_, [&](const Interrupted& one) { return now - one.at >= kGiveUp; });
  if (std::ranges::find(interrupted_, process, &Interrupted::process) != interrupted_.end()) return false;
  interrupted_.push_back({process, now});
  return true;
}

}  // namespace wrapd::supervisor
