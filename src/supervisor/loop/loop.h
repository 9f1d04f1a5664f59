// SPDX-License-Identifier: Apache-2.0
#pragma once

// Threads that receive notifications and answer them, so that one call that waits never holds up the others, and a call
// that does not wait is answered by the thread that received it, without a second hand-over.
//
// One thread at a time has the receiver's role. It receives a call, handles it and answers it, and keeps the role: in
// the common case one thread does everything and the kernel wakes target and supervisor on one CPU. A monitor (the
// process's main thread, by tick()) takes the role from a thread that is busy with one call for longer than a tick, and
// gives it to another, started when there is none. So each call that waits has a thread of its own, up to a bound. When
// no further thread can be had, the call that has waited for the shortest time gives its thread up and is refused:
// there is always one for calls that do not wait.
//
// The monitor is the one place that looks after calls that take long (call_slot.h says what can become of one): it ends
// a wait whose target has died, has a signal to handle, or must stop, and refuses a decision that takes longer than its
// deadline (the thread that comes back finds the call abandoned). A target's death is heard of by its pidfd at once;
// signals can only be looked for.
//
// A call that somebody is asked about waits in no thread: it is put aside, and the monitor looks after it. When it was
// allowed, a thread that is not the receiver handles it again from the beginning.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/approvals.h"
#include "supervisor/caller.h"
#include "supervisor/handler.h"
#include "supervisor/loop/call_slot.h"
#include "supervisor/loop/pending_signals.h"

namespace wrapd::supervisor {

struct LoopLimits {
  size_t waiting = 1024;                     // calls that wait at once, each in a thread of its own
  size_t working = 8;                        // threads beside these
  size_t idle_threads = 2;                   // that are kept for the next call
  size_t looks = 32;                         // at signals of waiting calls, in one tick
  std::chrono::milliseconds tick{5};         // how long a call may keep the receiver's role
  std::chrono::milliseconds idle{250};       // without a call for that long, ticking stops
  std::chrono::milliseconds look_after{50};  // how often a call that waits is looked at: has its target a signal?
  std::chrono::milliseconds decide_within{10'000};
  std::chrono::milliseconds room_patience{100};  // for a thread to come free before a call that waits gives up its own
  size_t parked = 256;                           // calls that wait for an answer at once
  size_t records = 8192;                         // waiting to be recorded; more are counted as lost
};

class Loop {
 public:
  using Clock = std::chrono::steady_clock;

  // Handlers are looked up by system call number; no handler: ENOSYS. All that is given by reference outlives the loop.
  Loop(kernel::TrapSource& source, kernel::Tasks& tasks, std::function<Handler*(int number)> handler_for,
       Callers& callers, Approvals& approvals, LoopLimits limits = {});
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // For the monitor's poll(2). The wake descriptor becomes readable when the monitor is needed.
  [[nodiscard]] int wake_fd() const { return wake_.get(); }
  // True until the first thread was started: the monitor then polls the listener itself and calls start() when it is
  // readable. An idle session has one thread.
  [[nodiscard]] bool idle_from_start() const { return !started_; }
  // Starts the thread that receives, and `spare` more. An error: not all of them could be had.
  [[nodiscard]] Result<> start(size_t spare = 0);
  // To be called at wake-ups, and within patience().
  void tick(Clock::time_point now);
  // How long tick() may be left out at most, if no wake-up comes.
  [[nodiscard]] std::optional<std::chrono::milliseconds> patience(Clock::time_point now) const;
  // From now on every call, also those that wait for an answer, ends its task: SIGKILL, and an error besides.
  void terminate();
  // Told of each call before it is handled. Set before start(); called by several threads at once.
  void on_call(std::function<void(const Notification&)> notice) { on_call_ = std::move(notice); }
  // The listener has no task any more.
  [[nodiscard]] bool hung_up() const { return hung_up_.load(); }
  void set_hung_up() { hung_up_ = true; }
  // No call is between its answer and its record.
  [[nodiscard]] bool settled() const { return recording_.load() == 0; }
  // What was decided since the last time, in the order of the answers.
  [[nodiscard]] std::vector<TimedRecord> take_records(uint64_t& lost);
  // Interrupts what still waits and waits for the threads, for a bounded time; false if some are stuck in the kernel
  // (the process can only exit then).
  [[nodiscard]] bool stop(std::chrono::milliseconds patience);

  // Installs the handler of the interrupting signal, once per process.
  static void install_interrupt_handler();

 private:
  static constexpr const char* kNoDecision = "no decision within the deadline";
  struct Worker;
  struct Parked {
    Notification call;
    Outcome refusal;
    PendingSignals::Watch watch;
  };
  struct Retry {
    Notification call;
    Clock::time_point since;
  };

  void run(Worker& worker);
  [[nodiscard]] std::optional<Notification> receive();
  [[nodiscard]] short poll_source(short events) const;
  [[nodiscard]] std::optional<Notification> idle(Worker& worker, bool& leave);
  void begin(Worker& worker, const Notification& call);
  void serve(Worker& worker, const Notification& call);
  void park(const Notification& call, Outcome outcome);
  void look_at_parked(Clock::time_point now);
  [[nodiscard]] bool resolve(Parked& parked, bool look, Clock::time_point now);
  void hand_out_retries(Clock::time_point now);
  [[nodiscard]] Outcome refusal_of(const Notification& call, int error, const char* reason);
  void refuse(const Notification& call, int error, const char* reason);
  [[nodiscard]] Outcome end_task(const Notification& call);
  void finish(const Notification& call, Outcome& outcome);
  void push(const Notification& call, Outcome& outcome);

  Result<> start_worker(bool receives);
  void give_role_away(const Worker& from);
  [[nodiscard]] bool others_wait_for(const Worker& worker);
  void wake_monitor();
  void drain_wake_ups();
  [[nodiscard]] std::vector<Worker*> reap();
  void look_at(Worker& worker, Clock::time_point now);
  [[nodiscard]] WaitEnd why_it_must_end(Worker& worker, const Notification& call, Clock::time_point now);
  [[nodiscard]] bool watch_target(Worker& worker, const Notification& call);
  void pass_wake_ups_on(const std::vector<Worker*>& all);
  bool turn_away(const std::vector<Worker*>& all);
  void make_room(const std::vector<Worker*>& all, Clock::time_point now);
  void refuse_received();
  void interrupt(Worker& worker);
  [[nodiscard]] std::chrono::milliseconds parked_pause() const;

  kernel::TrapSource& source_;
  kernel::Tasks& tasks_;
  std::function<Handler*(int)> handler_for_;
  Callers& callers_;
  Approvals& approvals_;
  std::function<void(const Notification&)> on_call_;
  LoopLimits limits_;
  UniqueFd wake_;      // epoll: wake_ups_, and the pidfds of targets that wait
  UniqueFd wake_ups_;  // eventfd
  bool watching_ = false;
  bool started_ = false;  // the monitor's

  mutable std::mutex role_lock_;
  std::condition_variable role_changed_;
  std::atomic<Worker*> role_{nullptr};  // the thread that receives; changed under role_lock_
  std::vector<std::unique_ptr<Worker>> threads_;
  size_t idle_ = 0;               // threads that wait for something to do
  std::deque<Retry> retries_;     // all of these under role_lock_
  std::vector<uint64_t> missed_;  // peers whose wake-ups an interrupted wait may have taken; under role_lock_
  std::atomic<bool> stopping_{false};
  std::atomic<bool> terminating_{false};
  std::atomic<bool> hung_up_{false};

  std::atomic<size_t> waiting_{0};  // calls, at the last tick
  std::atomic<uint64_t> received_{0};
  std::atomic<bool> monitor_sleeps_{true};
  PendingSignals signals_;  // the monitor's, as all that follows up to the parked calls
  bool active_ = false;
  uint64_t last_received_ = 0;
  Clock::time_point last_activity_{};
  Clock::time_point next_look_ = Clock::time_point::max();
  size_t looks_left_ = 0;
  std::optional<Clock::time_point> no_room_since_;  // or since the last call gave its thread up

  mutable std::mutex parked_lock_;
  std::vector<Parked> parked_;
  size_t parked_in_hand_ = 0;  // of the monitor, which looks at them without the lock
  Clock::time_point parked_looked_at_{};

  std::atomic<int> recording_{0};
  std::mutex records_lock_;
  std::vector<TimedRecord> records_;
  uint64_t records_lost_ = 0;
};

}  // namespace wrapd::supervisor
