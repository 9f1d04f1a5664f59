// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop/loop.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>

namespace wrapd::supervisor {
namespace {

constexpr size_t kStackBytes = size_t{128} * 1024;
constexpr auto kLooksApart = std::chrono::microseconds(250);

extern "C" void on_interrupt(int) {}

EndReason reason_of(WaitEnd end) {
  switch (end) {
    case WaitEnd::restart:
      return EndReason::restart;
    case WaitEnd::interrupt:
      return EndReason::interrupt;
    case WaitEnd::none:
      break;
  }
  return EndReason::none;
}

int error_of(EndReason reason) {
  switch (reason) {
    case EndReason::restart:
      return kRestart;
    case EndReason::crowded:
      return EAGAIN;
    default:
      return EINTR;
  }
}

Notification notification_of(const seccomp_notif& received) {
  Notification call{
      .id = received.id, .tid = static_cast<pid_t>(received.pid), .number = received.data.nr, .arguments = {}};
  std::copy(std::begin(received.data.args), std::end(received.data.args), std::begin(call.arguments));
  return call;
}

}  // namespace

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
      if (now.reason != EndReason::look_again) return error_of(now.reason);
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

Loop::Loop(kernel::Kernel& kernel, int listener, std::function<Handler*(int)> handler_for, Callers& callers,
           Approvals& approvals, LoopLimits limits)
    : kernel_(kernel),
      listener_(listener),
      handler_for_(std::move(handler_for)),
      callers_(callers),
      approvals_(approvals),
      limits_(limits),
      wake_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_ups_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      signals_(kernel) {
  records_.reserve(16);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  watching_ = ::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, wake_ups_.get(), &event) == 0;
}

Loop::~Loop() {
  // The threads use this object: a stuck one must not outlive it.
  if (!stop(std::chrono::seconds(1))) std::terminate();
}

void Loop::install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: the point is to end a wait
  ::sigaction(kInterruptSignal, &action, nullptr);
}

// With role_lock_ held.
Result<> Loop::start_worker(bool receives) {
  if (threads_.size() >= limits_.waiting + limits_.working) return fail("too many threads", EAGAIN);
  auto worker = std::make_unique<Worker>(*this);
  pthread_attr_t attributes;
  if (int rc = ::pthread_attr_init(&attributes); rc != 0) return fail_errno("cannot start a thread", rc);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  auto entry = [](void* argument) -> void* {
    auto* self = static_cast<Worker*>(argument);
    self->loop.run(*self);
    return nullptr;
  };
  if (receives) role_ = worker.get();
  int rc = ::pthread_create(&worker->thread, &attributes, entry, worker.get());
  ::pthread_attr_destroy(&attributes);
  if (rc != 0) {
    if (receives) role_ = nullptr;
    return fail_errno("cannot start a thread", rc);
  }
  threads_.push_back(std::move(worker));
  return {};
}

Result<> Loop::start(size_t spare) {
  if (!watching_) return fail("cannot make the descriptors that wake the supervisor", EMFILE);
  std::lock_guard lock(role_lock_);
  started_ = true;
  if (auto receiver = start_worker(true); !receiver) return receiver;
  for (size_t i = 0; i < spare; ++i) {
    if (auto other = start_worker(false); !other) return other;
  }
  return {};
}

void Loop::wake_monitor() {
  uint64_t one = 1;
  // A full counter means that the monitor is being woken already.
  (void)!::write(wake_ups_.get(), &one, sizeof one);
}

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

void Loop::run(Worker& worker) {
  sigset_t interrupts;
  ::sigemptyset(&interrupts);
  ::sigaddset(&interrupts, kInterruptSignal);
  ::pthread_sigmask(SIG_UNBLOCK, &interrupts, nullptr);
  worker.thread_id = ::gettid();
  bool leave = false;
  while (!stopping_ && !hung_up_ && !leave) {
    std::optional<Notification> call;
    if (role_.load() != &worker) {
      call = idle(worker, leave);
    } else if (call = receive(); call) {
      begin(worker, *call);
      ++received_;
      if (monitor_sleeps_.exchange(false)) wake_monitor();
    }
    if (!call) continue;
    serve(worker, *call);
    worker.slot.finish();
  }
  worker.gone = true;
  wake_monitor();
}

std::optional<Notification> Loop::receive() {
  seccomp_notif notification;
  if (kernel_.receive(notification) == 0) return notification_of(notification);
  // EINTR: the end. ENOENT: the target died before we looked, or it was the last one. Before Linux 6.11 the latter is
  // not told here; the monitor polls the listener for it.
  struct pollfd p {
    .fd = listener_, .events = 0, .revents = 0
  };
  if (::poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) != 0) {
    hung_up_ = true;
    wake_monitor();
  }
  return std::nullopt;
}

// Waits for something to do: the receiver's role (then there is no call yet), or a call that was allowed. Ends the
// thread if enough wait already.
std::optional<Notification> Loop::idle(Worker& worker, bool& leave) {
  std::unique_lock lock(role_lock_);
  auto wanted = [&] {
    return stopping_ || hung_up_ || role_.load() == nullptr || role_.load() == &worker || !retries_.empty();
  };
  if (!wanted()) {
    leave = idle_ >= limits_.idle_threads;
    if (leave) return std::nullopt;
    ++idle_;
    role_changed_.wait(lock, wanted);
    --idle_;
  }
  if (role_.load() == nullptr) role_ = &worker;
  if (stopping_ || hung_up_ || role_.load() == &worker) return std::nullopt;
  Notification call = retries_.front().call;
  retries_.pop_front();
  begin(worker, call);
  return call;
}

void Loop::begin(Worker& worker, const Notification& call) {
  worker.id = call.id;
  worker.tid = call.tid;
  worker.number = call.number;
  worker.peer = 0;
  worker.since = Clock::now().time_since_epoch().count();
  worker.slot.begin();
}

void Loop::serve(Worker& worker, const Notification& call) {
  if (on_call_) on_call_(call);
  Outcome outcome;
  if (terminating_) {
    outcome = end_task(call);
  } else if (call.tid == 0) {
    // The task is in a pid namespace that ours cannot see: nothing of it can be read.
    outcome = refusal_of(call, EACCES, "the program is in a pid namespace that the supervisor cannot see");
  } else if (Handler* handler = handler_for_(call.number); handler != nullptr) {
    outcome = callers_.serve(call, *handler, worker);
  } else {
    outcome.answer = Answer::errno_of(ENOSYS);
  }
  ++recording_;
  const bool ours = worker.slot.take();
  const EndReason reason = worker.slot.view().reason;
  if (reason != EndReason::none) worker.settle_signals();
  if (reason != EndReason::none && worker.peer != 0) {
    std::lock_guard lock(role_lock_);
    missed_.push_back(worker.peer);
    wake_monitor();
  }
  if (outcome.question != 0 && ours) {
    park(call, std::move(outcome));
  } else if (outcome.question != 0) {
    approvals_.leave(outcome.question, Approvals::Leaving::done);
  } else if (ours) {
    answer(call, outcome.answer);
    push(call, outcome);
  } else if (outcome.record && outcome.record->done && !outcome.answer.run_natively) {
    // It was answered by the deadline, and done all the same.
    push(call, outcome);
  }
  --recording_;
}

// Ends the task that calls.
Outcome Loop::end_task(const Notification& call) {
  Outcome outcome{.answer = Answer::errno_of(EACCES), .record = Record{.operation = operation_of(call.number)}};
  outcome.record->reason = "the session is being ended";
  callers_.end(call, *outcome.record);
  return outcome;
}

void Loop::terminate() {
  terminating_ = true;
  std::vector<Parked> parked;
  {
    std::lock_guard lock(parked_lock_);
    parked.swap(parked_);
  }
  for (Parked& waiting : parked) {
    approvals_.leave(waiting.refusal.question, Approvals::Leaving::done);
    Outcome outcome = end_task(waiting.call);
    answer(waiting.call, outcome.answer);
    push(waiting.call, outcome);
  }
}

Outcome Loop::refusal_of(const Notification& call, int error, const char* reason) {
  Outcome outcome{.answer = Answer::errno_of(error), .record = Record{.operation = operation_of(call.number)}};
  outcome.record->reason = reason;
  callers_.name_unproven(call, *outcome.record);
  return outcome;
}

void Loop::refuse(const Notification& call, int error, const char* reason) {
  Outcome outcome = refusal_of(call, error, reason);
  answer(call, outcome.answer);
  push(call, outcome);
}

void Loop::answer(const Notification& call, const Answer& answer) const {
  seccomp_notif_resp response{};
  response.id = call.id;
  response.error = -answer.error;
  response.val = answer.value;
  // Whoever sets `run_natively` says there why it is safe.
  if (answer.run_natively) response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  // ENOENT: the target died while we worked; there is nobody to answer.
  (void)kernel_.respond(response);
}

void Loop::push(const Notification& call, Outcome& outcome) {
  if (!outcome.record) return;
  TimedRecord timed{.record = std::move(*outcome.record),
                    .tid = call.tid,
                    .error = outcome.answer.error == kRestart ? EINTR : outcome.answer.error,
                    .time = std::chrono::system_clock::now()};
  std::lock_guard lock(records_lock_);
  if (records_.size() >= limits_.records) {
    ++records_lost_;
    return;
  }
  records_.push_back(std::move(timed));
}

std::vector<TimedRecord> Loop::take_records(uint64_t& lost) {
  std::vector<TimedRecord> taken;
  std::lock_guard lock(records_lock_);
  taken.swap(records_);
  lost = std::exchange(records_lost_, 0);
  return taken;
}

// To an idle thread, or a new one. Without any, nobody receives until the monitor has made room.
void Loop::give_role_away(const Worker& from) {
  std::lock_guard lock(role_lock_);
  if (role_.load() != &from || stopping_) return;
  role_ = nullptr;
  if (idle_ > 0) {
    role_changed_.notify_all();
  } else if (!start_worker(true)) {
    wake_monitor();
  }
}

// Then waiting is the rule for this one, too.
bool Loop::others_wait_for(const Worker& worker) {
  if (waiting_ == 0) return false;
  std::lock_guard lock(role_lock_);
  return std::ranges::any_of(threads_, [&](const auto& other) {
    return other.get() != &worker && other->peer == worker.peer && other->slot.view().state == CallState::waiting;
  });
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
  (void)last->slot.end(last->slot.view(), EndReason::crowded);
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
    struct pollfd p {
      .fd = listener_, .events = POLLIN, .revents = 0
    };
    if (::poll(&p, 1, 0) <= 0 || (p.revents & POLLIN) == 0) return;
    seccomp_notif notification;
    if (kernel_.receive(notification) < 0) continue;
    Notification call = notification_of(notification);
    if (terminating_) {
      Outcome outcome = end_task(call);
      answer(call, outcome.answer);
      push(call, outcome);
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
    if (first != nullptr) (void)first->slot.end(first->slot.view(), EndReason::look_again);
  }
}

// True if the target may have died already.
bool Loop::watch_target(Worker& worker, const Notification& call) {
  if (worker.target_sought) return worker.target_died;
  worker.target_sought = true;
  if (kernel::Task task; kernel_.open_task(call.tid, task) == 0) worker.target = std::move(task.pidfd);
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = &worker}};
  // Without it the death is noticed when the call is looked at.
  if (worker.target && ::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, worker.target.get(), &event) < 0) worker.target.reset();
  return true;  // or the number may be another's by now
}

EndReason Loop::why_it_must_end(Worker& worker, const Notification& call, Clock::time_point now) {
  const bool look = now >= worker.next_look && looks_left_ > 0;
  if (watch_target(worker, call) || look) {
    worker.target_died = false;
    if (!kernel_.valid(call.id)) return EndReason::died;
  }
  EndReason reason = EndReason::none;
  if (look) {
    --looks_left_;
    worker.next_look = now + limits_.look_after + kLooksApart * static_cast<int>(waiting_.load());
    reason = reason_of(signals_.look(call.tid, worker.watch, now));
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
      const EndReason reason = why_it_must_end(worker, call, now);
      if (reason != EndReason::none && worker.slot.end(seen, reason)) interrupt(worker);
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

bool Loop::stop(std::chrono::milliseconds patience) {
  stopping_ = true;
  auto deadline = Clock::now() + patience;
  for (;;) {
    bool all_gone = true;
    {
      std::lock_guard lock(role_lock_);
      role_changed_.notify_all();
      for (auto& worker : threads_) {
        if (worker->gone) continue;
        all_gone = false;
        (void)worker->slot.end(worker->slot.view(), EndReason::stopping);
        // Also one that receives: nothing comes after what it is busy with.
        if (worker->thread_id != 0) (void)::tgkill(::getpid(), worker->thread_id, kInterruptSignal);
      }
    }
    if (all_gone) break;
    if (Clock::now() > deadline) return false;
    timespec nap{.tv_sec = 0, .tv_nsec = 1'000'000};
    ::nanosleep(&nap, nullptr);
  }
  for (auto& worker : threads_) ::pthread_join(worker->thread, nullptr);
  threads_.clear();
  return true;
}

}  // namespace wrapd::supervisor
