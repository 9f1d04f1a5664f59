// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>

namespace wrapd::supervisor {
namespace {

constexpr size_t kStackBytes = size_t{256} * 1024;
// ERESTARTSYS (include/linux/errno.h). What keeps it from programs is said in pending_signals.h.
constexpr int kRestart = 512;

int interrupt_signal() {
  return SIGRTMIN;
}

extern "C" void on_interrupt(int) {}

constexpr const char* kNoDecision = "no decision within the deadline";

int error_of(WaitEnd end) {
  return end == WaitEnd::restart ? kRestart : EINTR;
}

}  // namespace

// A thread and the call it is busy with. The monitor reads; the thread writes.
struct Loop::Worker final : CallContext {
  explicit Worker(Loop& owner, int position) : loop(owner), index(position) {}

  void may_wait() override { stage = Stage::blocking; }
  void will_wait() override {
    stage = Stage::blocking;
    loop.give_role_away(*this);
  }
  [[nodiscard]] int interrupted() const override {
    if (loop.stopping_) return EINTR;
    // What was meant for the call before is not for this one.
    return interrupted_call == call_id ? interrupted_error.load() : 0;
  }

  Loop& loop;
  const int index;
  pthread_t thread{};
  timer_t timer{};  // sends the interrupting signal to this thread
  std::atomic<bool> has_timer{false};
  std::atomic<bool> gone{false};

  std::atomic<uint64_t> call_id{0};  // 0: idle
  std::atomic<pid_t> tid{0};
  std::atomic<int> number{-1};
  std::atomic<Stage> stage{Stage::deciding};
  std::atomic<Clock::rep> since{0};
  std::atomic<uint64_t> sequence{0};
  std::atomic<uint64_t> unanswered{0};  // whoever takes the call's id from here answers it
  std::atomic<uint64_t> interrupted_call{0};
  std::atomic<int> interrupted_error{0};  // of that call; set before it
  std::atomic<bool> interrupting{false};

  [[nodiscard]] bool take(uint64_t id) { return unanswered.compare_exchange_strong(id, 0); }

  // The monitor's.
  uint64_t seen_sequence = 0;
  uint64_t watched_call = 0;
  PendingSignals::Watch watch;
};

Loop::Loop(kernel::Kernel& kernel, int listener, std::function<Handler*(int)> handler_for, Callers& callers,
           Approvals& approvals, LoopLimits limits)
    : kernel_(kernel),
      listener_(listener),
      handler_for_(std::move(handler_for)),
      callers_(callers),
      approvals_(approvals),
      limits_(limits),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      signals_(kernel) {
  threads_.reserve(limits_.threads);
  records_.reserve(16);
}

Loop::~Loop() {
  // The threads use this object: a stuck one must not outlive it.
  if (!stop(std::chrono::seconds(1))) std::terminate();
}

void Loop::install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: the point is to end a wait
  ::sigaction(interrupt_signal(), &action, nullptr);
}

Result<Loop::Worker*> Loop::start_worker() {
  auto worker = std::make_unique<Worker>(*this, static_cast<int>(threads_.size()));
  pthread_attr_t attributes;
  if (int rc = ::pthread_attr_init(&attributes); rc != 0) return fail_errno("cannot start a thread", rc);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  auto entry = [](void* argument) -> void* {
    auto* self = static_cast<Worker*>(argument);
    self->loop.run(*self);
    return nullptr;
  };
  int rc = ::pthread_create(&worker->thread, &attributes, entry, worker.get());
  ::pthread_attr_destroy(&attributes);
  if (rc != 0) return fail_errno("cannot start a thread", rc);
  threads_.push_back(std::move(worker));
  return threads_.back().get();
}

Result<> Loop::start() {
  std::lock_guard lock(role_lock_);
  auto worker = start_worker();
  if (!worker) return std::unexpected(worker.error());
  role_ = (*worker)->index;
  role_changed_.notify_all();
  return {};
}

void Loop::wake_monitor() {
  uint64_t one = 1;
  // A full counter means that the monitor is being woken already.
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Loop::run(Worker& worker) {
  struct sigevent event {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = interrupt_signal();
  event._sigev_un._tid = ::gettid();
  worker.has_timer = ::timer_create(CLOCK_MONOTONIC, &event, &worker.timer) == 0;

  while (!stopping_) {
    if (role_.load() != worker.index) {
      std::unique_lock lock(role_lock_);
      role_changed_.wait(lock, [&] { return stopping_ || role_.load() == worker.index || !retries_.empty(); });
      if (stopping_ || role_.load() == worker.index || retries_.empty()) continue;
      Notification call = retries_.front().call;
      retries_.pop_front();
      begin(worker, call);  // with the lock held: from here on this thread is not idle
      lock.unlock();
      serve(worker, call);
      end(worker);
      continue;
    }
    struct pollfd p {
      .fd = listener_, .events = POLLIN, .revents = 0
    };
    int n = ::poll(&p, 1, -1);
    if (n < 0) {  // EINTR: an interrupt that came late
      itimerspec off{};
      ::timer_settime(worker.timer, 0, &off, nullptr);
      continue;
    }
    if ((p.revents & POLLIN) == 0) {
      hung_up_ = true;
      wake_monitor();
      break;
    }
    seccomp_notif notification;
    int rc = kernel_.receive(notification);
    // ENOENT: the target died before we looked. EINTR: see above.
    if (rc < 0) continue;
    Notification call{.id = notification.id,
                      .tid = static_cast<pid_t>(notification.pid),
                      .number = notification.data.nr,
                      .arguments = {}};
    std::copy(std::begin(notification.data.args), std::end(notification.data.args), std::begin(call.arguments));
    begin(worker, call);
    ++received_;
    if (monitor_sleeps_.exchange(false)) wake_monitor();
    serve(worker, call);
    end(worker);
  }
  if (worker.has_timer) ::timer_delete(worker.timer);
  worker.gone = true;
}

void Loop::begin(Worker& worker, const Notification& call) {
  worker.tid = call.tid;
  worker.number = call.number;
  worker.stage = Stage::deciding;
  worker.unanswered = call.id;
  worker.since = Clock::now().time_since_epoch().count();
  ++worker.sequence;
  worker.call_id = call.id;
}

void Loop::end(Worker& worker) {
  worker.call_id = 0;
  if (worker.interrupting.exchange(false)) {
    itimerspec off{};
    ::timer_settime(worker.timer, 0, &off, nullptr);
  }
}

void Loop::serve(Worker& worker, const Notification& call) {
  if (on_call_) on_call_(call);
  Outcome outcome;
  if (terminating_) {
    outcome = end_task(call);
  } else if (call.tid == 0) {
    // The task is in a pid namespace that ours cannot see: nothing of it can be read.
    outcome.answer = Answer::errno_of(EACCES);
    outcome.record = Record{.operation = "call from a foreign pid namespace"};
  } else if (Handler* handler = handler_for_(call.number); handler != nullptr) {
    outcome = callers_.serve(call, *handler, worker);
  } else {
    outcome.answer = Answer::errno_of(ENOSYS);
  }
  ++recording_;
  const bool ours = worker.take(call.id);
  if (outcome.question != 0 && ours) {
    park(call, std::move(outcome));
  } else if (outcome.question != 0) {
    approvals_.leave(outcome.question, Approvals::Leaving::done);
  } else if (ours) {
    answer(call, outcome.answer);
    push(call, outcome);
  }
  --recording_;
}

// Ends the task that calls.
Outcome Loop::end_task(const Notification& call) {
  Outcome outcome{.answer = Answer::errno_of(EACCES), .record = Record{.operation = "system call"}};
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

// The call has no thread from here on.
void Loop::park(const Notification& call, Outcome outcome) {
  {
    std::lock_guard lock(parked_lock_);
    // terminate() and this either see each other's work or come after it.
    if (!terminating_ && parked_.size() + parked_in_hand_ < limits_.parked) {
      parked_.push_back({call, std::move(outcome), {}});
      // It may have been answered before it was here, and the session has to tell who is asked.
      wake_monitor();
      return;
    }
  }
  approvals_.leave(outcome.question, Approvals::Leaving::done);
  if (terminating_) {
    outcome = end_task(call);
  } else {
    outcome.record->reason = "too many calls wait for an answer";
  }
  answer(call, outcome.answer);
  push(call, outcome);
}

std::optional<std::chrono::milliseconds> Loop::patience() const {
  std::lock_guard lock(parked_lock_);
  if (parked_.empty()) return std::nullopt;
  // Each look reads a file for each call: what many cost is spread.
  return limits_.look_after + limits_.tick * static_cast<int>(parked_.size()) / 2;
}

// True if the call need not wait any more.
bool Loop::resolve(Parked& parked, bool look, Clock::time_point now) {
  const uint64_t question = parked.refusal.question;
  auto standing = approvals_.standing(question);
  if (standing.kind == Approvals::Standing::Kind::allowed) {
    approvals_.leave(question, Approvals::Leaving::done);
    std::lock_guard lock(role_lock_);
    retries_.push_back({parked.call, now});
    return true;
  }
  if (standing.kind == Approvals::Standing::Kind::denied) {
    approvals_.leave(question, Approvals::Leaving::done);
    parked.refusal.record->reason = standing.reason;
    answer(parked.call, parked.refusal.answer);
    push(parked.call, parked.refusal);
    return true;
  }
  if (!look) return false;
  if (!kernel_.valid(parked.call.id)) {
    approvals_.leave(question, Approvals::Leaving::done);
    return true;
  }
  const WaitEnd end = signals_.look(parked.call.tid, parked.watch, now);
  if (end == WaitEnd::none) return false;
  // Nothing was decided, so nothing is recorded: the call ends, or is made again and joins its question.
  approvals_.leave(question, Approvals::Leaving::interrupted);
  answer(parked.call, Answer::errno_of(error_of(end)));
  return true;
}

void Loop::look_at_parked(Clock::time_point now) {
  auto pause = patience();
  if (!pause) return;
  const bool look = now - parked_looked_at_ >= *pause;
  if (look) parked_looked_at_ = now;
  std::vector<Parked> parked;
  {
    std::lock_guard lock(parked_lock_);
    parked.swap(parked_);
    parked_in_hand_ = parked.size();
  }
  std::erase_if(parked, [&](Parked& waiting) { return resolve(waiting, look, now); });
  std::lock_guard lock(parked_lock_);
  parked_in_hand_ = 0;
  parked_.insert(parked_.end(), std::make_move_iterator(parked.begin()), std::make_move_iterator(parked.end()));
}

// Wakes idle threads for the calls that may go on, or starts one. What finds none in time is refused as any call is.
void Loop::hand_out_retries(Clock::time_point now) {
  std::vector<Notification> late;
  {
    std::lock_guard lock(role_lock_);
    while (!retries_.empty() && now - retries_.front().since >= limits_.decide_within) {
      late.push_back(retries_.front().call);
      retries_.pop_front();
    }
    if (!retries_.empty()) {
      bool idle = std::ranges::any_of(threads_, [&](const auto& worker) {
        return worker->index != role_.load() && worker->call_id.load() == 0 && !worker->gone;
      });
      if (!idle && threads_.size() < limits_.threads) (void)start_worker();
      role_changed_.notify_all();
    }
  }
  for (const Notification& call : late) refuse(call, EACCES, kNoDecision);
}

void Loop::refuse(const Notification& call, int error, const char* reason) {
  Outcome outcome{.answer = Answer::errno_of(error), .record = Record{.operation = "system call"}};
  outcome.record->reason = reason;
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

// Makes an idle thread the receiver, or a new one. Without any, nobody receives, and the monitor refuses.
void Loop::give_role_away(const Worker& from) {
  std::lock_guard lock(role_lock_);
  if (role_.load() != from.index || stopping_) return;
  for (auto& worker : threads_) {
    if (worker->index != from.index && worker->call_id.load() == 0 && !worker->gone) {
      role_ = worker->index;
      role_changed_.notify_all();
      return;
    }
  }
  role_ = kNobody;
  if (threads_.size() < limits_.threads) {
    if (auto worker = start_worker()) {
      role_ = (*worker)->index;
      role_changed_.notify_all();
      return;
    }
  }
  wake_monitor();
}

void Loop::look_at(Worker& worker, Clock::time_point now) {
  uint64_t id = worker.call_id.load();
  if (id == 0) return;
  auto age = now.time_since_epoch() - Clock::duration(worker.since.load());
  if (age < limits_.look_after) return;

  if (worker.stage.load() == Stage::deciding) {
    if (age < limits_.decide_within || !worker.take(id)) return;
    // The thread may be stuck in the kernel for good. When it comes back, the notification is no longer valid.
    Notification call{.id = id, .tid = worker.tid, .number = worker.number, .arguments = {}};
    refuse(call, EACCES, kNoDecision);
    return;
  }

  if (worker.interrupted_call.load() == id || !worker.has_timer) return;
  if (std::exchange(worker.watched_call, id) != id) worker.watch = {};
  const WaitEnd end =
      kernel_.valid(id) ? signals_.look(worker.tid, worker.watch, now) : WaitEnd::interrupt;  // nobody hears of it
  if (end == WaitEnd::none || worker.call_id.load() != id) return;
  worker.interrupted_error = error_of(end);
  worker.interrupted_call = id;
  if (worker.interrupting.exchange(true)) return;
  // Repeats until the wait has ended: the first one may come just before it begins.
  itimerspec soon{.it_interval = {.tv_sec = 0, .tv_nsec = 10'000'000}, .it_value = {.tv_sec = 0, .tv_nsec = 1}};
  ::timer_settime(worker.timer, 0, &soon, nullptr);
}

// All threads are stuck: what comes now is refused, not queued behind them.
void Loop::refuse_waiting() {
  for (int i = 0; i < 64; ++i) {
    struct pollfd p {
      .fd = listener_, .events = POLLIN, .revents = 0
    };
    if (::poll(&p, 1, 0) <= 0 || (p.revents & POLLIN) == 0) return;
    seccomp_notif notification;
    if (kernel_.receive(notification) < 0) continue;
    Notification call{.id = notification.id,
                      .tid = static_cast<pid_t>(notification.pid),
                      .number = notification.data.nr,
                      .arguments = {}};
    if (terminating_) {
      Outcome outcome = end_task(call);
      answer(call, outcome.answer);
      push(call, outcome);
    } else {
      refuse(call, EAGAIN, "too many calls wait at once");
    }
  }
}

void Loop::tick(Clock::time_point now) {
  uint64_t drained;
  (void)!::read(wake_.get(), &drained, sizeof drained);

  bool busy = false;
  const Worker* stuck = nullptr;
  std::vector<Worker*> all;  // threads end with the loop only
  {
    std::lock_guard lock(role_lock_);
    for (auto& worker : threads_) {
      all.push_back(worker.get());
      if (worker->call_id.load() == 0) continue;
      busy = true;
      uint64_t sequence = worker->sequence.load();
      // A tick may come at once after another, when the monitor is woken.
      bool since_last_tick = worker->seen_sequence == sequence &&
                             now.time_since_epoch() - Clock::duration(worker->since.load()) >= limits_.tick;
      worker->seen_sequence = sequence;
      if (role_.load() == worker->index && since_last_tick) stuck = worker.get();
    }
  }
  if (stuck != nullptr) give_role_away(*stuck);
  if (role_.load() == kNobody && !stopping_ && !hung_up_) {
    bool found = false;
    {
      std::lock_guard lock(role_lock_);
      for (auto& worker : threads_) {
        if (worker->call_id.load() != 0 || worker->gone) continue;
        role_ = worker->index;
        role_changed_.notify_all();
        found = true;
        break;
      }
    }
    if (!found) refuse_waiting();
  }
  signals_.begin_pass();
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

bool Loop::stop(std::chrono::milliseconds patience) {
  stopping_ = true;
  {
    std::lock_guard lock(role_lock_);
    role_changed_.notify_all();
  }
  auto deadline = Clock::now() + patience;
  for (;;) {
    bool all_gone = true;
    for (auto& worker : threads_) {
      if (worker->gone) continue;
      all_gone = false;
      if (!worker->has_timer) continue;
      itimerspec now{.it_interval = {.tv_sec = 0, .tv_nsec = 10'000'000}, .it_value = {.tv_sec = 0, .tv_nsec = 1}};
      if (!worker->interrupting.exchange(true)) ::timer_settime(worker->timer, 0, &now, nullptr);
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
