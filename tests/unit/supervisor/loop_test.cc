// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop/loop.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "fake_kernel.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;

// The listener is a semaphore: readable while calls are queued. As the real one, it is received from by waiting.
class QueuedKernel final : public FakeKernel {
 public:
  QueuedKernel() : listener_(::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)) {
    on_respond = [this] { answered_.notify_all(); };
  }
  int receive(Notification& notification) override {
    uint64_t one;
    if (::read(listener_.get(), &one, sizeof one) < 0) return -errno;
    return FakeKernel::receive(notification);
  }
  int open_task(pid_t tid, kernel::Task& out) override {
    if (pidfd < 0) return FakeKernel::open_task(tid, out);
    out.thread_exact = true;
    out.pidfd.reset(::fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
    given = out.pidfd.get();
    return 0;
  }
  int answer(uint64_t id, const Answer& answer) override {
    before_answer(id);
    return FakeKernel::answer(id, answer);
  }
  std::function<void(uint64_t id)> before_answer = [](uint64_t) {};
  [[nodiscard]] int descriptor() const override { return listener_.get(); }
  void queue_call(uint64_t id, int number, pid_t tid = 100) {
    std::lock_guard guard(lock);
    queue.push_back({.id = id, .tid = tid, .number = number, .arguments = {}});
    uint64_t one = 1;
    EXPECT_EQ(::write(listener_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  size_t answer_count() {
    std::lock_guard guard(lock);
    return answers.size();
  }
  int error_of(uint64_t id) {
    std::lock_guard guard(lock);
    for (const auto& answer : answers) {
      if (answer.id == id) return answer.error;
    }
    return -1;
  }

  int pidfd = -1;  // not -1: what every task is opened as, by a copy
  std::atomic<int> given{-1};

 private:
  UniqueFd listener_;
  std::condition_variable answered_;
};

constexpr int kQuick = 1, kWaits = 2, kStuck = 3, kAsks = 4, kFull = 5, kGives = 6;

// kAsks asks about `key`; kQuick answers at once; kWaits reads a pipe until it is let go or interrupted; kStuck does
// not notice anything; kFull waits, and what it is told at the end by the kernel is EAGAIN; kGives answers with a
// descriptor.
class TestHandler final : public Handler {
 public:
  explicit TestHandler(Approvals& room) : approvals(room) { EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0); }
  ~TestHandler() override {
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  Outcome handle(const Caller& call, CallContext& context) override {
    Record record{.operation = "test"};
    record.done = true;
    record.path = std::to_string(call.id);
    if (call.number == kQuick) return {.answer = {}, .record = record};
    if (call.number == kAsks) return ask(record);
    if (call.number == kGives) {
      return {.answer = {.descriptor = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))}, .record = record};
    }
    ++busy;
    if ((call.number == kWaits || call.number == kFull) && !context.may_wait()) {
      return {.answer = Answer::errno_of(EINTR), .record = {}};
    }
    for (;;) {
      char byte;
      if (::read(pipe_[0], &byte, 1) == 1) return {.answer = {}, .record = record};
      if (call.number == kStuck) continue;
      const int error = context.interrupted();
      if (error == 0) continue;
      if (call.number == kFull) return {.answer = Answer::errno_of(EAGAIN), .record = record};
      if (error == EAGAIN) {
        record.done = false;
        record.reason = kTooManyWait;
      }
      return {.answer = Answer::errno_of(error), .record = record};
    }
  }
  void let_go(size_t calls) {
    std::string bytes(calls, 'g');
    EXPECT_EQ(::write(pipe_[1], bytes.data(), calls), static_cast<ssize_t>(calls));
  }
  std::atomic<int> busy{0};
  std::atomic<int> handled{0};
  Approvals& approvals;
  std::mutex key_lock;
  std::string key = "k";

 private:
  Outcome ask(Record record) {
    std::string about;
    {
      std::lock_guard guard(key_lock);
      about = key;
    }
    ++handled;
    auto standing = approvals.look_up(about);
    if (!standing) standing = approvals.ask(about, {}, {});
    if (standing->kind == Approvals::Standing::Kind::allowed) return {.answer = {}, .record = record};
    record.done = false;
    record.reason = standing->reason;
    return {.answer = Answer::errno_of(EACCES), .record = record, .question = standing->question};
  }
  int pipe_[2];
};

struct Scene {
  QueuedKernel kernel;
  std::atomic<Approvals::Clock::rep> skipped{0};  // how far the approvals' clock is ahead
  Approvals approvals;
  TestHandler handler{approvals};
  UniqueFd root{::open("/", O_PATH | O_CLOEXEC)};
  Callers callers{kernel, kernel, root.get()};
  Loop loop;
  std::vector<TimedRecord> records;
  uint64_t lost = 0;
  std::vector<Approvals::Notice> notices;

  explicit Scene(LoopLimits limits = {}, policy::Approval asking = {60, 100, 100})
      : approvals(asking, {}, [this] { return Approvals::Clock::now() + Approvals::Clock::duration(skipped.load()); }),
        loop(
            kernel, kernel, [this](int number) { return number <= kGives ? &handler : nullptr; }, callers, approvals,
            limits) {
    Loop::install_interrupt_handler();
    EXPECT_TRUE(loop.start().has_value());
  }
  ~Scene() {
    handler.let_go(64);
    EXPECT_TRUE(loop.stop(10s));
  }
  // The monitor's work until `done`.
  template <class Done>
  [[nodiscard]] bool run_until(Done done) {
    auto deadline = Loop::Clock::now() + 30s;
    while (!done()) {
      if (Loop::Clock::now() > deadline) return false;
      struct pollfd p {
        .fd = loop.wake_fd(), .events = POLLIN, .revents = 0
      };
      ::poll(&p, 1, 2);
      approvals.expire();
      loop.tick(Loop::Clock::now());
      for (auto& notice : approvals.take_notices()) notices.push_back(std::move(notice));
      uint64_t now = 0;
      for (auto& record : loop.take_records(now)) records.push_back(std::move(record));
      lost += now;
    }
    return true;
  }
  [[nodiscard]] bool run_until_answers(size_t count) {
    return run_until([&] { return kernel.answer_count() >= count; });
  }
};

TEST(Loop, AnswersAndRecords) {
  Scene s;
  for (uint64_t id = 1; id <= 100; ++id) s.kernel.queue_call(id, kQuick);
  ASSERT_TRUE(s.run_until([&] { return s.records.size() >= 100; }));
  EXPECT_EQ(s.kernel.answer_count(), 100U);
  EXPECT_EQ(s.records[41].record.path, "42");
  EXPECT_EQ(s.records[41].record.exe, "/exe");
}

TEST(Loop, ADescriptorGoesWithTheAnswer) {
  for (int error : {0, EMFILE, ENOENT}) {
    Scene s;
    s.kernel.answer_error = -error;
    s.kernel.queue_call(1, kGives);
    ASSERT_TRUE(s.run_until([&] { return s.records.size() == 1; }));
    ASSERT_EQ(s.kernel.answer_count(), 1U) << "in one step";
    EXPECT_TRUE(s.kernel.answers[0].descriptor);
    EXPECT_EQ(s.records[0].error, error == EMFILE ? EMFILE : 0) << "what the target was told";
  }
}

TEST(Loop, WithoutAHandlerOrATaskNothingRuns) {
  Scene s;
  s.kernel.queue_call(1, 99);
  s.kernel.queue_call(2, SYS_connect, 0);
  ASSERT_TRUE(s.run_until_answers(2));
  EXPECT_EQ(s.kernel.error_of(1), ENOSYS);
  EXPECT_EQ(s.kernel.error_of(2), EACCES);
  ASSERT_TRUE(s.run_until([&] { return !s.records.empty(); }));
  EXPECT_FALSE(s.records[0].record.done);
  EXPECT_EQ(s.records[0].record.operation, "connect");
  EXPECT_EQ(s.records[0].record.reason, "the program is in a pid namespace that the supervisor cannot see");
  EXPECT_EQ(s.records[0].record.exe, "") << "it has no number here";
}

TEST(Loop, OthersAreAnsweredWhileOneWaits) {
  Scene s;
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  for (uint64_t id = 2; id <= 50; ++id) s.kernel.queue_call(id, kQuick);
  ASSERT_TRUE(s.run_until_answers(49));
  EXPECT_EQ(s.kernel.error_of(1), -1) << "still waits";
  s.handler.let_go(1);
  ASSERT_TRUE(s.run_until_answers(50));
  EXPECT_EQ(s.kernel.error_of(1), 0);
}

TEST(Loop, WhenAllWaitOneMoreWaitIsRefusedAndNothingElse) {
  // However slowly threads come to run here.
  Scene s({.waiting = 3, .working = 1, .room_patience = 60s});
  for (uint64_t id = 1; id <= 3; ++id) s.kernel.queue_call(id, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 3; }));
  for (uint64_t id = 4; id <= 20; ++id) s.kernel.queue_call(id, kQuick);
  ASSERT_TRUE(s.run_until_answers(17));
  for (uint64_t id = 4; id <= 20; ++id) EXPECT_EQ(s.kernel.error_of(id), 0) << id;
  s.kernel.queue_call(21, kWaits);
  s.kernel.queue_call(22, kQuick);
  ASSERT_TRUE(s.run_until_answers(19));
  EXPECT_EQ(s.kernel.error_of(21), EAGAIN) << "the one that waited for the shortest time";
  EXPECT_EQ(s.kernel.error_of(22), 0);
  ASSERT_TRUE(s.run_until([&] { return s.records.size() == 19; }));
  auto refused = std::ranges::find(s.records, false, [](const TimedRecord& timed) { return timed.record.done; });
  ASSERT_NE(refused, s.records.end());
  EXPECT_EQ(refused->record.reason, "too many calls wait at once");
  s.handler.let_go(3);
  ASSERT_TRUE(s.run_until_answers(22));
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(s.kernel.error_of(id), 0) << id;
}

// What the kernel says in the same moment is no refusal of ours.
TEST(Loop, AWaitThatIsRefusedAndEndsByItselfIsRecordedAsItEnded) {
  Scene s({.waiting = 1, .working = 1, .room_patience = 60s});
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  s.kernel.queue_call(2, kFull);
  ASSERT_TRUE(s.run_until([&] { return !s.records.empty(); }));
  EXPECT_EQ(s.records[0].record.path, "2");
  EXPECT_EQ(s.records[0].error, EAGAIN);
  EXPECT_TRUE(s.records[0].record.done);
  EXPECT_EQ(s.records[0].record.reason, "");
}

// A thread that answers takes no call yet, but soon: nobody else's wait is given up for that.
TEST(Loop, WhileOneThreadComesFreeNoOtherWaitIsRefused) {
  Scene s({.waiting = 2, .working = 1, .room_patience = 60s});
  std::atomic<int> ticks{0};
  std::atomic<bool> held{false};
  s.kernel.before_answer = [&](uint64_t id) {
    if (id != 3) return;
    held = true;
    while (ticks < 20) std::this_thread::yield();
  };
  for (uint64_t id = 1; id <= 3; ++id) s.kernel.queue_call(id, kWaits);
  ASSERT_TRUE(s.run_until([&] {
    if (held) ++ticks;
    return s.kernel.answer_count() >= 1;
  }));
  ticks = 20;
  s.kernel.queue_call(4, kQuick);
  ASSERT_TRUE(s.run_until_answers(2));
  EXPECT_EQ(s.kernel.error_of(3), EAGAIN);
  EXPECT_EQ(s.kernel.error_of(4), 0);
  EXPECT_EQ(s.kernel.answer_count(), 2U) << "the others wait on";
}

// Where nothing can be interrupted, and no call waits for a peer, the monitor itself answers.
TEST(Loop, WhenAllAreStuckTheRestIsRefused) {
  Scene s({.waiting = 1, .working = 1});
  for (uint64_t id = 1; id <= 2; ++id) s.kernel.queue_call(id, kStuck);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 2; }));
  for (uint64_t id = 3; id <= 20; ++id) s.kernel.queue_call(id, SYS_bind);
  ASSERT_TRUE(s.run_until([&] { return s.records.size() >= 18; }));
  EXPECT_EQ(s.kernel.answer_count(), 18U);
  EXPECT_EQ(s.records[17].record.operation, "bind");
  EXPECT_EQ(s.records[17].record.reason, "too many calls wait at once");
  EXPECT_EQ(s.records[17].record.exe, "/exe");
  EXPECT_EQ(s.kernel.error_of(3), EAGAIN);
  EXPECT_EQ(s.kernel.error_of(20), EAGAIN);
  s.handler.let_go(2);
  ASSERT_TRUE(s.run_until_answers(20));
  s.kernel.queue_call(21, kQuick);
  ASSERT_TRUE(s.run_until_answers(21));
  EXPECT_EQ(s.kernel.error_of(21), 0) << "and all is well afterwards";
}

TEST(Loop, ADecisionHasADeadline) {
  Scene s({.decide_within = 100ms});
  s.kernel.queue_call(1, kStuck);
  ASSERT_TRUE(s.run_until([&] { return !s.records.empty(); }));
  EXPECT_EQ(s.kernel.error_of(1), EACCES);
  EXPECT_EQ(s.records[0].record.operation, "system call");
  EXPECT_EQ(s.records[0].record.reason, "no decision within the deadline");
  EXPECT_EQ(s.records[0].record.exe, "/exe");
  // What the thread says when it comes back is no answer to anybody; its next call is answered as any.
  s.handler.let_go(1);
  s.kernel.queue_call(2, kQuick);
  ASSERT_TRUE(s.run_until([&] { return s.kernel.error_of(2) == 0 && s.records.size() >= 3; }));
  EXPECT_EQ(s.kernel.answer_count(), 2U);
  // What it did all the same is told.
  EXPECT_FALSE(s.records[0].record.done);
  EXPECT_TRUE(std::ranges::any_of(
      s.records, [](const TimedRecord& timed) { return timed.record.path == "1" && timed.record.done; }));
}

TEST(Loop, AWaitEndsWithItsTarget) {
  Scene s;
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  s.kernel.is_valid = [](uint64_t) { return false; };
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_NE(s.kernel.error_of(1), 0);
}

// Closing a descriptor takes it out of an epoll only if it is the last one of its file, and processes that bind have
// copies of all of ours.
TEST(Loop, ATargetThatIsWatchedNoLongerIsHeardOfNoMore) {
  for (size_t idle_threads : {2U, 0U}) {
    int end[2];
    ASSERT_EQ(::pipe2(end, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(end[1]);
      char byte;
      ::_exit(static_cast<int>(::read(end[0], &byte, 1)));
    }
    ::close(end[0]);
    ASSERT_GT(child, 0);
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    ASSERT_TRUE(pidfd);
    Scene s({.idle_threads = idle_threads});
    s.kernel.pidfd = pidfd.get();
    s.kernel.queue_call(1, kWaits);
    ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
    const int of_the_caller = s.kernel.given;
    ASSERT_TRUE(s.run_until([&] { return s.kernel.given != of_the_caller; }));
    s.handler.let_go(1);
    ASSERT_TRUE(s.run_until_answers(1));
    ASSERT_TRUE(s.run_until([&] { return ::fcntl(s.kernel.given, F_GETFD) < 0; }));
    s.loop.tick(Loop::Clock::now());
    ::close(end[1]);
    struct pollfd died {
      .fd = pidfd.get(), .events = POLLIN, .revents = 0
    };
    ASSERT_EQ(::poll(&died, 1, 30'000), 1);
    struct pollfd woken {
      .fd = s.loop.wake_fd(), .events = POLLIN, .revents = 0
    };
    EXPECT_EQ(::poll(&woken, 1, 0), 0);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  }
}

TEST(Loop, AWaitEndsForAHandlerOnly) {
  Scene s({.look_after = 1ms});
  s.kernel.status.pending = 1U << 13;
  s.kernel.status.blocked = 1U << 13;
  s.kernel.status.caught = 1U << 13;
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  auto end = Loop::Clock::now() + 50ms;
  ASSERT_TRUE(s.run_until([&] { return Loop::Clock::now() > end; }));
  EXPECT_EQ(s.kernel.answer_count(), 0U) << "the signal is blocked";
  s.handler.let_go(1);
  ASSERT_TRUE(s.run_until_answers(1));
  s.kernel.status.blocked = 0;
  s.kernel.queue_call(2, kWaits);
  ASSERT_TRUE(s.run_until_answers(2));
  EXPECT_EQ(s.kernel.error_of(2), 512);  // ERESTARTSYS
  ASSERT_TRUE(s.run_until([&] { return s.records.size() == 2; }));
  EXPECT_EQ(s.records[1].error, EINTR);
  // The next call of the same thread has nothing to do with it.
  s.kernel.status.pending = 0;
  s.kernel.queue_call(3, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 3; }));
  s.handler.let_go(1);
  ASSERT_TRUE(s.run_until_answers(3));
  EXPECT_EQ(s.kernel.error_of(3), 0);
}

constexpr uint64_t kSignal = 1U << 13;
constexpr int kRestart = 512;  // ERESTARTSYS

// A process whose threads wait in calls, with a signal pending for the process; its main thread is 100.
struct Crowd : Scene {
  explicit Crowd(std::initializer_list<pid_t> threads) : Scene({.look_after = 1ms}) {
    for (pid_t tid : threads) {
      kernel.others[tid] = {.state = 'D',
                            .tgid = 100,
                            .threads = static_cast<unsigned>(threads.size()),
                            .shared_pending = kSignal,
                            .caught = kSignal};
    }
  }
  void handled() {
    for (auto& [tid, status] : kernel.others) status.shared_pending = 0;
  }
  // Lets the monitor look for longer than any wait is left alone.
  [[nodiscard]] bool pass(std::chrono::milliseconds time = 700ms) {
    auto end = Loop::Clock::now() + time;
    return run_until([&] { return Loop::Clock::now() > end; });
  }
};

TEST(SignalForTheProcess, IsTheOnlyThreads) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100});
    s.kernel.queue_call(1, call);
    ASSERT_TRUE(s.run_until_answers(1));
    EXPECT_EQ(s.kernel.error_of(1), kRestart);
  }
}

TEST(SignalForTheProcess, SentToTheThreadItIsItsOwn) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100, 101, 102});
    s.handled();
    s.kernel.others[101].pending = kSignal;
    s.kernel.queue_call(1, call, 100);
    s.kernel.queue_call(2, call, 101);
    s.kernel.queue_call(3, call, 102);
    ASSERT_TRUE(s.run_until_answers(1));
    EXPECT_EQ(s.kernel.error_of(2), kRestart);
    ASSERT_TRUE(s.pass());
    EXPECT_EQ(s.kernel.answer_count(), 1U);
  }
}

TEST(SignalForTheProcess, IsWhoseWaitNobodyElseCanHaveBeenChosenFor) {
  for (int call : {kWaits, kAsks}) {
    for (pid_t tid : {100, 101}) {
      Crowd s({100, 101, 102, 103, 104});
      for (auto& [other, status] : s.kernel.others) status.state = 'S';
      s.kernel.others[tid].state = 'D';
      s.kernel.others[103].state = 'R';
      s.kernel.others[103].blocked = kSignal;
      s.kernel.others[104].state = 'Z';
      s.kernel.queue_call(1, call, tid);
      ASSERT_TRUE(s.run_until_answers(1));
      EXPECT_EQ(s.kernel.error_of(1), kRestart);
    }
  }
}

TEST(SignalForTheProcess, ThatAnotherThreadTakesEndsNoWait) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100, 101});
    s.kernel.queue_call(1, call, 100);
    s.kernel.others[101].state = 'R';
    ASSERT_TRUE(s.pass(60ms));
    s.handled();
    ASSERT_TRUE(s.pass());
    EXPECT_EQ(s.kernel.answer_count(), 0U);
  }
}

TEST(SignalForTheProcess, InDoubtInterruptsOneWaitAndRestartsNone) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100, 101, 102});
    s.kernel.queue_call(1, call, 101);
    s.kernel.queue_call(2, call, 100);
    s.kernel.queue_call(3, call, 102);
    auto begin = Loop::Clock::now();
    ASSERT_TRUE(s.run_until_answers(1));
    EXPECT_GE(Loop::Clock::now() - begin, PendingSignals::kGiveUp);
    EXPECT_EQ(s.kernel.error_of(2), EINTR) << "the main thread's first";
    s.handled();
    ASSERT_TRUE(s.pass());
    EXPECT_EQ(s.kernel.answer_count(), 1U);
  }
}

TEST(SignalForTheProcess, ThatStaysEndsOneWaitAfterAnother) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100, 101, 102, 103});
    for (pid_t i = 0; i < 3; ++i) s.kernel.queue_call(static_cast<uint64_t>(1 + i), call, 100 + i);
    for (size_t i = 1; i <= 3; ++i) {
      ASSERT_TRUE(s.run_until_answers(i));
      EXPECT_EQ(s.kernel.answer_count(), i) << "not two at once";
    }
    for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(s.kernel.error_of(id), EINTR);
  }
}

// What cannot be looked through is in doubt.
TEST(SignalForTheProcess, OfTooManyThreadsNeverRestarts) {
  Crowd s({100});
  s.kernel.others[100].threads = PendingSignals::kThreadsPerPass + 1;
  s.kernel.queue_call(1, kWaits, 100);
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_EQ(s.kernel.error_of(1), EINTR);
}

constexpr uint64_t kStop = 1U << 18, kQuit = 1U << 2, kChild = 1U << 16;  // SIGSTOP, SIGQUIT, SIGCHLD

// What has no handler and stops the process, or ends it with a core dump, is for the main thread first.
TEST(SignalForTheProcess, WithoutAHandlerEndsTheMainThreadsWait) {
  for (int call : {kWaits, kAsks}) {
    for (uint64_t signal : {kStop, kQuit}) {
      Crowd s({100, 101});
      for (auto& [tid, status] : s.kernel.others) status.shared_pending = signal;
      s.kernel.queue_call(1, call, 100);
      s.kernel.queue_call(2, call, 101);
      ASSERT_TRUE(s.run_until_answers(1));
      EXPECT_EQ(s.kernel.error_of(1), kRestart);
      ASSERT_TRUE(s.pass());
      EXPECT_EQ(s.kernel.answer_count(), 1U);
      // It has stopped; the others must, too.
      s.kernel.others[100].state = 'T';
      s.handled();
      ASSERT_TRUE(s.run_until_answers(2));
      EXPECT_EQ(s.kernel.error_of(2), kRestart);
    }
  }
}

TEST(SignalForTheProcess, AStopThatAnotherThreadTookEndsTheMainThreadsWait) {
  for (int call : {kWaits, kAsks}) {
    Crowd s({100, 101, 102});
    s.handled();
    s.kernel.queue_call(1, call, 100);
    ASSERT_TRUE(s.pass(100ms));
    EXPECT_EQ(s.kernel.answer_count(), 0U);
    s.kernel.others[102].state = 'T';
    ASSERT_TRUE(s.run_until_answers(1));
    EXPECT_EQ(s.kernel.error_of(1), kRestart);
  }
}

TEST(SignalForTheProcess, ThatNobodyNoticesEndsNoWait) {
  for (int call : {kWaits, kAsks}) {
    for (bool ignored : {false, true}) {
      Crowd s({100});
      auto& status = s.kernel.others[100];
      status.caught = 0;
      status.shared_pending = status.pending = ignored ? kQuit : kChild;
      if (ignored) status.ignored = kQuit;
      s.kernel.queue_call(1, call, 100);
      ASSERT_TRUE(s.pass());
      EXPECT_EQ(s.kernel.answer_count(), 0U);
    }
  }
}

TEST(Loop, RecordsAreBoundedAndTheLostAreCounted) {
  Scene s({.records = 10});
  for (uint64_t id = 1; id <= 30; ++id) s.kernel.queue_call(id, kQuick);
  while (s.kernel.answer_count() < 30 || !s.loop.settled()) std::this_thread::yield();
  ASSERT_TRUE(s.run_until([&] { return s.records.size() + s.lost == 30; }));
  EXPECT_EQ(s.records.size(), 10U);
  EXPECT_EQ(s.lost, 20U);
}

using NoticeKind = Approvals::Notice::Kind;

TEST(Parked, DoNotOccupyAThread) {
  Scene s({.waiting = 1, .working = 1});
  for (uint64_t id = 1; id <= 40; ++id) s.kernel.queue_call(id, kAsks);
  ASSERT_TRUE(s.run_until([&] { return s.handler.handled == 40; }));
  for (uint64_t id = 41; id <= 80; ++id) s.kernel.queue_call(id, kQuick);
  ASSERT_TRUE(s.run_until_answers(40));
  EXPECT_EQ(s.kernel.error_of(1), -1);
  EXPECT_EQ(s.kernel.error_of(80), 0);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty() && s.records.size() >= 40; }));
  ASSERT_EQ(s.notices.size(), 1U) << "one question for all of them";
  EXPECT_EQ(s.records.size(), 40U) << "what waits is not decided";
  ASSERT_TRUE(s.approvals.answer(s.notices[0].question, true, "x"));
  ASSERT_TRUE(s.run_until_answers(80));
  for (uint64_t id = 1; id <= 40; ++id) EXPECT_EQ(s.kernel.error_of(id), 0) << id;
  EXPECT_EQ(s.handler.handled, 80) << "each was judged again";
}

TEST(Parked, ARetryDoesNotWaitForTheReceiver) {
  Scene s({.waiting = 1, .working = 1});
  s.kernel.queue_call(1, kAsks);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty(); }));
  // The only thread is in poll(2) as the receiver; another one is started.
  ASSERT_TRUE(s.approvals.answer(s.notices[0].question, true, "x"));
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_EQ(s.kernel.error_of(1), 0);
}

TEST(Parked, ARetryThatFindsNoThreadIsRefusedInTime) {
  Scene s({.waiting = 1, .working = 0, .decide_within = 300ms});
  s.kernel.queue_call(1, kAsks);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty(); }));
  s.kernel.queue_call(2, kStuck);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  ASSERT_TRUE(s.approvals.answer(s.notices[0].question, true, "x"));
  ASSERT_TRUE(s.run_until([&] { return s.kernel.error_of(1) == EACCES; }));
}

TEST(Parked, ARefusalAnswersAllThatWait) {
  Scene s;
  for (uint64_t id = 1; id <= 3; ++id) s.kernel.queue_call(id, kAsks);
  ASSERT_TRUE(s.run_until([&] { return s.handler.handled == 3 && !s.notices.empty(); }));
  ASSERT_TRUE(s.approvals.answer(s.notices[0].question, false, "uid 1"));
  ASSERT_TRUE(s.run_until([&] { return s.records.size() == 3; }));
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(s.kernel.error_of(id), EACCES);
  EXPECT_EQ(s.records[2].record.reason, "denied by uid 1");
  EXPECT_EQ(s.handler.handled, 3);
}

TEST(Parked, TheDeadlineDenies) {
  Scene s;
  s.kernel.queue_call(1, kAsks);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty(); }));
  s.skipped = Approvals::Clock::duration(61s).count();
  ASSERT_TRUE(s.run_until([&] { return s.records.size() == 1; }));
  EXPECT_EQ(s.kernel.error_of(1), EACCES);
  EXPECT_EQ(s.records[0].record.reason, "nobody answered in time");
  ASSERT_EQ(s.notices.size(), 2U);
  EXPECT_EQ(s.notices[1].kind, NoticeKind::expired);
}

TEST(Parked, ADeadTargetWithdrawsItsQuestion) {
  Scene s({.look_after = 1ms});
  s.kernel.queue_call(1, kAsks);
  s.kernel.queue_call(2, kAsks);
  ASSERT_TRUE(s.run_until([&] { return s.handler.handled == 2; }));
  s.kernel.is_valid = [](uint64_t id) { return id != 1; };
  auto end = Loop::Clock::now() + 30ms;
  ASSERT_TRUE(s.run_until([&] { return Loop::Clock::now() > end; }));
  EXPECT_EQ(s.notices.size(), 1U) << "another call waits for it";
  s.kernel.is_valid = [](uint64_t) { return false; };
  ASSERT_TRUE(s.run_until([&] { return s.notices.size() == 2; }));
  EXPECT_EQ(s.notices[1].kind, NoticeKind::withdrawn);
  EXPECT_EQ(s.kernel.answer_count(), 0U);
  EXPECT_TRUE(s.records.empty());
}

TEST(Parked, AnInterruptedCallFindsItsQuestionAgain) {
  Scene s({.look_after = 1ms});
  s.kernel.queue_call(1, kAsks);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty(); }));
  s.kernel.status.pending = s.kernel.status.caught = 1U << 13;
  for (uint64_t id = 2; id <= 20; ++id) {
    ASSERT_TRUE(s.run_until_answers(id - 1));
    EXPECT_EQ(s.kernel.error_of(id - 1), 512);
    s.kernel.queue_call(id, kAsks);
  }
  ASSERT_TRUE(s.run_until_answers(20));
  EXPECT_EQ(s.notices.size(), 1U);
  EXPECT_TRUE(s.records.empty()) << "nothing was decided";
  s.skipped = Approvals::Clock::duration(20s).count();
  ASSERT_TRUE(s.run_until([&] { return s.notices.size() == 2; }));
  EXPECT_EQ(s.notices[1].kind, NoticeKind::withdrawn) << "it lingers for seconds, not for ever";
}

TEST(Parked, WhatChangedMeanwhileIsAnotherQuestion) {
  Scene s;
  s.kernel.queue_call(1, kAsks);
  ASSERT_TRUE(s.run_until([&] { return !s.notices.empty(); }));
  {
    std::lock_guard guard(s.handler.key_lock);
    s.handler.key = "another";
  }
  ASSERT_TRUE(s.approvals.answer(s.notices[0].question, true, "x"));
  ASSERT_TRUE(s.run_until([&] { return s.notices.size() == 3; }));
  EXPECT_EQ(s.notices[2].kind, NoticeKind::asked);
  EXPECT_EQ(s.kernel.answer_count(), 0U);
}

TEST(Parked, AreBounded) {
  Scene s({.parked = 5});
  for (uint64_t id = 1; id <= 12; ++id) s.kernel.queue_call(id, kAsks);
  ASSERT_TRUE(s.run_until([&] { return s.records.size() == 7; }));
  EXPECT_EQ(s.records[0].record.reason, "too many calls wait for an answer");
  EXPECT_EQ(s.kernel.answer_count(), 7U);
}

TEST(Terminate, EndsWhateverCalls) {
  Scene s;
  s.kernel.queue_call(1, kAsks);
  s.kernel.queue_call(2, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.handled == 1 && s.handler.busy == 1; }));
  s.loop.terminate();
  EXPECT_EQ(s.kernel.error_of(1), EACCES) << "what waits for an answer";
  for (uint64_t id = 3; id <= 5; ++id) s.kernel.queue_call(id, kQuick);
  s.kernel.queue_call(6, kAsks);
  ASSERT_TRUE(s.run_until_answers(5));
  std::lock_guard guard(s.kernel.lock);
  EXPECT_EQ(s.kernel.done, std::vector<std::string>(5, "kill"));
}

TEST(Terminate, WhatIsGoneIsNotKilled) {
  Scene s;
  s.loop.terminate();
  s.kernel.is_valid = [](uint64_t) { return false; };
  s.kernel.queue_call(1, kQuick);
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_TRUE(s.kernel.done.empty()) << "the number may be somebody else's";
}

TEST(Loop, StopsWhatWaits) {
  Scene s;
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  EXPECT_TRUE(s.loop.stop(10s));
  EXPECT_EQ(s.kernel.error_of(1), EINTR);
}

}  // namespace
}  // namespace wrapd::supervisor
