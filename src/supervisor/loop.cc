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

constexpr size_t kStackBytes = 256 * 1024;
// What a call of the kernel's own returns when a signal ends its wait (ERESTARTSYS, include/linux/errno.h). Programs
// never see it: on the way back the kernel makes it EINTR, or begins the call anew where the handler is SA_RESTART.
constexpr int kRestart = 512;

int interrupt_signal() {
  return SIGRTMIN;
}

extern "C" void on_interrupt(int) {}

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
    return interrupted_call == call_id ? kRestart : 0;
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
  std::atomic<bool> interrupting{false};

  [[nodiscard]] bool take(uint64_t id) { return unanswered.compare_exchange_strong(id, 0); }

  uint64_t seen_sequence = 0;  // the monitor's

  // Whose name was read last. The name of a program is its own to choose at any time; which program it is must be asked
  // every time, as it may have executed another one since.
  pid_t named_tid = 0;
  Clock::rep named_at = 0;
  std::string named_exe;
  std::string named_comm;
};

Loop::Loop(kernel::Kernel& kernel, int listener, std::function<Handler*(int)> handler_for, LoopLimits limits)
    : kernel_(kernel),
      listener_(listener),
      handler_for_(std::move(handler_for)),
      limits_(limits),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
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
      role_changed_.wait(lock, [&] { return stopping_ || role_.load() == worker.index; });
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
    worker.tid = call.tid;
    worker.number = call.number;
    worker.stage = Stage::deciding;
    worker.unanswered = call.id;
    worker.since = Clock::now().time_since_epoch().count();
    ++worker.sequence;
    worker.call_id = call.id;
    ++received_;
    if (monitor_sleeps_.exchange(false)) wake_monitor();
    serve(worker, call);
    worker.call_id = 0;
    if (worker.interrupting.exchange(false)) {
      itimerspec off{};
      ::timer_settime(worker.timer, 0, &off, nullptr);
    }
  }
  if (worker.has_timer) ::timer_delete(worker.timer);
  worker.gone = true;
}

void Loop::serve(Worker& worker, const Notification& call) {
  Outcome outcome;
  if (call.tid == 0) {
    // The task is in a pid namespace that ours cannot see: nothing of it can be read.
    outcome.answer = Answer::errno_of(EACCES);
    outcome.record = Record{.operation = "call from a foreign pid namespace"};
  } else if (Handler* handler = handler_for_(call.number); handler != nullptr) {
    outcome = handler->handle(call, worker);
  } else {
    outcome.answer = Answer::errno_of(ENOSYS);
  }
  ++recording_;
  if (worker.take(call.id)) {
    answer(call, outcome.answer);
    name_target(worker, call, outcome);
    push(call, outcome);
  }
  --recording_;
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

// After the answer, so that the target does not wait for it; it may be gone by now, and then has no name.
void Loop::name_target(Worker& worker, const Notification& call, Outcome& outcome) {
  if (!outcome.record || !outcome.record->exe.empty() || !outcome.record->comm.empty()) return;
  std::string exe = kernel_.task_exe(call.tid);
  bool same = worker.named_tid == call.tid && worker.named_exe == exe &&
              worker.since.load() - worker.named_at < Clock::duration(limits_.look_after).count();
  if (!same) {
    worker.named_tid = call.tid;
    worker.named_at = worker.since.load();
    worker.named_exe = exe;
    worker.named_comm = kernel_.task_comm(call.tid);
  }
  outcome.record->exe = std::move(exe);
  outcome.record->comm = worker.named_comm;
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
    Outcome outcome{.answer = Answer::errno_of(EACCES), .record = Record{.operation = "system call"}};
    outcome.record->reason = "no decision within the deadline";
    answer(call, outcome.answer);
    push(call, outcome);
    return;
  }

  bool interrupt = !kernel_.valid(id);
  if (!interrupt) {
    // WAIT_KILLABLE_RECV holds back every signal that does not kill. Natively the wait would end for a handler to run.
    kernel::TaskStatus status;
    interrupt = kernel_.task_status(worker.tid, status) == 0 &&
                ((status.pending | status.shared_pending) & ~status.blocked & status.caught) != 0;
  }
  if (!interrupt || worker.call_id.load() != id || !worker.has_timer) return;
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
    Outcome outcome{.answer = Answer::errno_of(EAGAIN), .record = Record{.operation = "system call"}};
    outcome.record->reason = "too many calls wait at once";
    answer(call, outcome.answer);
    push(call, outcome);
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
      bool since_last_tick = worker->seen_sequence == sequence;
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
  for (Worker* worker : all) look_at(*worker, now);

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
