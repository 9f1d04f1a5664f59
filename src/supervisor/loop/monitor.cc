// SPDX-License-Identifier: Apache-2.0

// The part of Loop that the monitor does: it looks after the threads and the calls that take long.

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "supervisor/loop/worker.h"

namespace wrapd::supervisor {
namespace {

constexpr auto kLooksApart = std::chrono::microseconds(250);

}  // namespace

void Loop::drain_wake_ups() {
  std::array<epoll_event, 64> events;
  for (;;) {
    int count = ::epoll_wait(wake_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (const epoll_event& event : std::span(events).first(static_cast<size_t>(std::max(count, 0)))) {
      uint64_t drained;
      if (event.data.ptr == nullptr) {
        (void)!::read(wake_ups_.get(), &drained, sizeof drained);
      } else {
        static_cast<Worker*>(event.data.ptr)->target_died = true;
      }
    }
    if (count < static_cast<int>(events.size())) return;
  }
}

// The threads that there are. Those that have left are joined.
std::vector<Loop::Worker*> Loop::reap() {
  std::vector<Worker*> all;
  std::lock_guard lock(role_lock_);
  std::erase_if(threads_, [&](const auto& worker) {
    if (worker->gone && !stopping_ && !hung_up_) {
      ::pthread_join(worker->thread, nullptr);
      return true;
    }
    all.push_back(worker.get());
    return false;
  });
  return all;
}

// Of those that wait, the one that began last gives its thread up. False if none waits.
bool Loop::turn_away(const std::vector<Worker*>& all) {
  Worker* last = nullptr;
  for (Worker* worker : all) {
    if (worker->slot.view().state != CallState::waiting) continue;
    if (last == nullptr || worker->begun() > last->begun()) last = worker;
  }
  if (last == nullptr) return false;
  (void)last->slot.end(last->slot.view(), WaitEnd::crowded);
  return true;
}

// Nobody receives. Calls that do not wait come first: one that waits gives its thread up, unless a thread that does not
// wait comes free in time. If none can, what comes is refused, not queued behind them.
void Loop::make_room(const std::vector<Worker*>& all, Clock::time_point now) {
  {
    std::lock_guard lock(role_lock_);
    if (role_.load() != nullptr || idle_ > 0 || stopping_ || hung_up_ || start_worker(true)) {
      no_room_since_.reset();
      return;
    }
  }
  if (!no_room_since_) no_room_since_ = now;
  const bool soon = std::ranges::any_of(all, [](const Worker* worker) {
    const CallState state = worker->slot.view().state;
    return state != CallState::waiting && state != CallState::abandoned;
  });
  if (soon && now - *no_room_since_ < limits_.room_patience) return;
  if (turn_away(all)) {
    no_room_since_ = now;
  } else {
    refuse_received();
  }
}

void Loop::refuse_received() {
  for (int i = 0; i < 64; ++i) {
    if ((poll_source(POLLIN) & POLLIN) == 0) return;
    Notification call;
    if (source_.receive(call) < 0) continue;
    if (terminating_) {
      Outcome outcome = end_task(call);
      finish(call, outcome);
    } else {
      refuse(call, EAGAIN, kTooManyWait);
    }
  }
}

// A wait that is interrupted may have been woken in the same moment, and it was the only one that was.
void Loop::pass_wake_ups_on(const std::vector<Worker*>& all) {
  std::vector<uint64_t> missed;
  {
    std::lock_guard lock(role_lock_);
    missed.swap(missed_);
  }
  for (uint64_t peer : missed) {
    Worker* first = nullptr;
    for (Worker* worker : all) {
      if (worker->slot.view().state != CallState::waiting || worker->peer != peer) continue;
      if (first == nullptr || worker->begun() < first->begun()) first = worker;
    }
    if (first != nullptr) (void)first->slot.end(first->slot.view(), WaitEnd::look_again);
  }
}

// True if the target may have died already.
bool Loop::watch_target(Worker& worker, const Notification& call) {
  if (worker.target_sought) return worker.target_died;
  worker.target_sought = true;
  if (kernel::Task task; tasks_.open_task(call.tid, task) == 0) worker.target = std::move(task.pidfd);
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = &worker}};
  // Without it the death is noticed when the call is looked at.
  if (worker.target && ::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, worker.target.get(), &event) < 0) worker.target.reset();
  return true;  // or the number may be another's by now
}

WaitEnd Loop::why_it_must_end(Worker& worker, const Notification& call, Clock::time_point now) {
  const bool look = now >= worker.next_look && looks_left_ > 0;
  if (watch_target(worker, call) || look) {
    worker.target_died = false;
    if (!source_.valid(call.id)) return WaitEnd::died;
  }
  WaitEnd reason = WaitEnd::none;
  if (look) {
    --looks_left_;
    worker.next_look = now + limits_.look_after + kLooksApart * static_cast<int>(waiting_.load());
    reason = signals_.look(call.tid, worker.watch, now);
  }
  next_look_ = std::min(next_look_, worker.next_look);
  return reason;
}

void Loop::look_at(Worker& worker, Clock::time_point now) {
  const CallSlot::View seen = worker.slot.view();
  const Notification call = worker.call();
  const Clock::duration age = now - worker.begun();
  if (seen.call != worker.watched || seen.state == CallState::idle) {
    worker.watched = seen.call;
    worker.watch = {};
    worker.next_look = worker.begun() + limits_.look_after;
    worker.forget_target();
  }
  switch (seen.state) {
    case CallState::deciding:
      // The thread may be stuck in the kernel for good.
      if (age >= limits_.decide_within && worker.slot.abandon(seen)) refuse(call, EACCES, kNoDecision);
      return;
    case CallState::waiting: {
      if (age < limits_.tick) return;
      const WaitEnd reason = why_it_must_end(worker, call, now);
      if (reason != WaitEnd::none && worker.slot.end(seen, reason)) interrupt(worker);
      return;
    }
    case CallState::ending:
      // Again and again: the last one may have come just before the wait began.
      interrupt(worker);
      return;
    case CallState::idle:
    case CallState::answering:
    case CallState::abandoned:
      return;
  }
}

void Loop::interrupt(Worker& worker) {
  std::lock_guard lock(worker.signal_lock);
  if (worker.slot.view().state == CallState::ending) (void)::tgkill(::getpid(), worker.thread_id, kInterruptSignal);
}

void Loop::tick(Clock::time_point now) {
  drain_wake_ups();
  const std::vector<Worker*> all = reap();
  bool busy = false;
  size_t waiting = 0;
  for (Worker* worker : all) {
    const CallState state = worker->slot.view().state;
    if (state == CallState::idle) continue;
    const bool young = now - worker->begun() < limits_.tick;
    if (!young && role_.load() == worker) give_role_away(*worker);
    waiting += state == CallState::waiting && !young ? 1 : 0;
    busy = busy || young || state == CallState::deciding || state == CallState::ending;
  }
  waiting_ = waiting;
  for (; waiting > limits_.waiting; --waiting) turn_away(all);
  if (started_ && role_.load() == nullptr) {
    make_room(all, now);
    busy = true;
  } else {
    no_room_since_.reset();
  }
  pass_wake_ups_on(all);
  signals_.begin_pass();
  looks_left_ = limits_.looks;
  next_look_ = Clock::time_point::max();
  for (Worker* worker : all) look_at(*worker, now);
  look_at_parked(now);
  hand_out_retries(now);
  {
    std::lock_guard lock(role_lock_);
    busy = busy || !retries_.empty();
  }

  uint64_t received = received_.load();
  if (busy || received != last_received_) {
    last_received_ = received;
    last_activity_ = now;
    active_ = true;
    monitor_sleeps_ = false;
    return;
  }
  if (active_ && now - last_activity_ >= limits_.idle) {
    active_ = false;
    monitor_sleeps_ = true;
    // A call that came in between saw us awake and did not wake us.
    if (received_.load() != last_received_) {
      active_ = true;
      monitor_sleeps_ = false;
    }
  }
}

std::optional<std::chrono::milliseconds> Loop::patience(Clock::time_point now) const {
  if (active_) return limits_.tick;
  std::optional<std::chrono::milliseconds> soonest;
  if (next_look_ != Clock::time_point::max()) {
    soonest = std::max(std::chrono::ceil<std::chrono::milliseconds>(next_look_ - now), limits_.tick);
  }
  std::lock_guard lock(parked_lock_);
  if (!parked_.empty()) soonest = std::min(soonest.value_or(parked_pause()), parked_pause());
  return soonest;
}

}  // namespace wrapd::supervisor
