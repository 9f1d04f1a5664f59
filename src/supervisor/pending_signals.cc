// SPDX-License-Identifier: Apache-2.0
#include "supervisor/pending_signals.h"

#include <algorithm>
#include <array>
#include <span>

namespace wrapd::supervisor {

WaitEnd PendingSignals::look(pid_t tid, Watch& watch, Clock::time_point now) {
  kernel::TaskStatus status;
  if (kernel_.task_status(tid, status) < 0) return WaitEnd::none;  // gone: the notification is no longer valid
  const uint64_t handled = ~status.blocked & status.caught;
  if ((status.pending & handled) != 0) return WaitEnd::restart;
  const uint64_t shared = status.shared_pending & handled;
  if (shared != 0 && status.threads == 1) return WaitEnd::restart;

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

// True if the kernel can have marked no other thread of the process for the signals. False also where that is unknown.
bool PendingSignals::is_alone(pid_t tid, pid_t process, uint64_t signals) {
  std::array<pid_t, kThreadsPerPass> room{};
  const int count = kernel_.threads(process, std::span(room).first(threads_left_));
  if (count < 0) return false;
  threads_left_ -= static_cast<size_t>(count);
  for (pid_t thread : std::span(room).first(static_cast<size_t>(count))) {
    if (thread == tid) continue;
    kernel::TaskStatus other;
    if (kernel_.task_status(thread, other) < 0) return false;
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
