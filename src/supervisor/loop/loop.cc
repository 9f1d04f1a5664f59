// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>

#include "supervisor/loop/worker.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kStackBytes = size_t{128} * 1024;

extern "C" void on_interrupt(int) {}

}  // namespace

Loop::Loop(kernel::TrapSource& source, kernel::Tasks& tasks, std::function<Handler*(int)> handler_for, Callers& callers,
           Approvals& approvals, LoopLimits limits)
    : source_(source),
      tasks_(tasks),
      handler_for_(std::move(handler_for)),
      callers_(callers),
      approvals_(approvals),
      limits_(limits),
      wake_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_ups_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      signals_(tasks) {
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
  Notification call;
  if (source_.receive(call) == 0) return call;
  // EINTR: the end. ENOENT: the target died before we looked, or it was the last one. Before Linux 6.11 the latter is
  // not told here; the monitor polls the source for it.
  if ((poll_source(0) & POLLHUP) != 0) {
    hung_up_ = true;
    wake_monitor();
  }
  return std::nullopt;
}

short Loop::poll_source(short events) const {
  struct pollfd p {
    .fd = source_.descriptor(), .events = events, .revents = 0
  };
  return ::poll(&p, 1, 0) > 0 ? p.revents : short{0};
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
  const WaitEnd reason = worker.slot.view().reason;
  if (reason != WaitEnd::none) worker.settle_signals();
  if (reason != WaitEnd::none && worker.peer != 0) {
    std::lock_guard lock(role_lock_);
    missed_.push_back(worker.peer);
    wake_monitor();
  }
  if (outcome.question != 0 && ours) {
    park(call, std::move(outcome));
  } else if (outcome.question != 0) {
    approvals_.leave(outcome.question, Approvals::Leaving::done);
  } else if (ours) {
    finish(call, outcome);
  } else if (outcome.record && outcome.record->done && !outcome.answer.run_natively) {
    // It was answered by the deadline, and done all the same.
    push(call, outcome);
  }
  --recording_;
}

// Ends the task that calls.
Outcome Loop::end_task(const Notification& call) {
  Outcome outcome{.answer = Answer::errno_of(EACCES), .record = record_of(call.number, "the session is being ended")};
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
    finish(waiting.call, outcome);
  }
}

Outcome Loop::refusal_of(const Notification& call, int error, const char* reason) {
  Outcome outcome{.answer = Answer::errno_of(error), .record = record_of(call.number, reason)};
  callers_.name_unproven(call, *outcome.record);
  return outcome;
}

void Loop::refuse(const Notification& call, int error, const char* reason) {
  Outcome outcome = refusal_of(call, error, reason);
  finish(call, outcome);
}

// What was decided is told once it is answered.
void Loop::finish(const Notification& call, Outcome& outcome) {
  // ENOENT: the target died while we worked; there is nobody to answer.
  const int rc = source_.answer(call.id, outcome.answer);
  // What a target was told that could not take its descriptor.
  if (outcome.answer.descriptor && rc < 0 && rc != -ENOENT) outcome.answer.error = -rc;
  push(call, outcome);
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
        (void)worker->slot.end(worker->slot.view(), WaitEnd::stopping);
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
