// SPDX-License-Identifier: Apache-2.0
#pragma once

// Of the loop's own files only.

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "supervisor/loop/loop.h"

namespace wrapd::supervisor {

// A thread and the call it is busy with. The thread writes, the monitor reads; what is of the call is written before
// the slot says that there is a new one.
struct Loop::Worker final : CallContext {
  explicit Worker(Loop& owner) : loop(owner) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() override { forget_target(); }

  bool may_wait_for(uint64_t key) override {
    peer = key;
    if (!slot.wait()) return false;
    if (key != 0 && loop.others_wait_for(*this)) loop.give_role_away(*this);
    return true;
  }
  bool will_wait() override {
    if (!slot.wait()) return false;
    loop.give_role_away(*this);
    return true;
  }
  [[nodiscard]] int interrupted() override {
    for (;;) {
      const CallSlot::View now = slot.view();
      if (now.state != CallState::ending) return 0;
      if (now.reason == WaitEnd::restart) return kRestart;
      if (now.reason == WaitEnd::crowded) return EAGAIN;
      if (now.reason != WaitEnd::look_again) return EINTR;
      if (!slot.look_again()) continue;
      settle_signals();
      return 0;
    }
  }
  // Of a thread that has left `ending`, before it does anything else: no signal comes any more, and none is pending.
  void settle_signals() {
    { std::lock_guard lock(signal_lock); }
    (void)::syscall(SYS_gettid);
  }
  // Closing alone would not do: a process that binds has copies of our descriptors for as long as that takes.
  void forget_target() {
    if (target) (void)::epoll_ctl(loop.wake_.get(), EPOLL_CTL_DEL, target.get(), nullptr);
    target.reset();
    target_sought = target_died = false;
  }
  [[nodiscard]] Notification call() const { return {.id = id, .tid = tid, .number = number, .arguments = {}}; }
  [[nodiscard]] Clock::time_point begun() const { return Clock::time_point(Clock::duration(since.load())); }

  Loop& loop;
  pthread_t thread{};
  std::atomic<pid_t> thread_id{0};
  std::atomic<bool> gone{false};

  CallSlot slot;
  std::mutex signal_lock;
  std::atomic<uint64_t> id{0};
  std::atomic<pid_t> tid{0};
  std::atomic<int> number{-1};
  std::atomic<Clock::rep> since{0};
  std::atomic<uint64_t> peer{0};

  // The monitor's, about `watched`.
  uint64_t watched = 0;
  PendingSignals::Watch watch;
  Clock::time_point next_look{};
  UniqueFd target;  // pidfd; none yet, or none to be had
  bool target_sought = false;
  bool target_died = false;  // perhaps: its pidfd says so
};

}  // namespace wrapd::supervisor
