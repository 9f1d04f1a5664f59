// SPDX-License-Identifier: Apache-2.0
#include "supervisor/loop.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <thread>

#include "fake_kernel.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;

// The listener is a semaphore: readable while calls are queued.
class QueuedKernel final : public FakeKernel {
 public:
  QueuedKernel() : listener_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) {
    on_receive = [this] {
      uint64_t one;
      EXPECT_EQ(::read(listener_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    };
    on_respond = [this] { answered_.notify_all(); };
  }
  int listener() const { return listener_.get(); }
  void queue_call(uint64_t id, int number, uint32_t tid = 100) {
    std::lock_guard guard(lock);
    seccomp_notif call{};
    call.id = id;
    call.pid = tid;
    call.data.nr = number;
    queue.push_back(call);
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
      if (answer.id == id) return -answer.error;
    }
    return -1;
  }

 private:
  UniqueFd listener_;
  std::condition_variable answered_;
};

constexpr int kQuick = 1, kWaits = 2, kStuck = 3;

// kQuick answers at once; kWaits reads a pipe until it is let go or interrupted; kStuck does not notice anything.
class TestHandler final : public Handler {
 public:
  TestHandler() { EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0); }
  ~TestHandler() override {
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  Outcome handle(const Notification& call, CallContext& context) override {
    Record record{.operation = "test"};
    record.done = true;
    record.path = std::to_string(call.id);
    if (call.number == kQuick) return {.answer = {}, .record = record};
    ++busy;
    if (call.number == kWaits) context.may_wait();
    for (;;) {
      char byte;
      if (::read(pipe_[0], &byte, 1) == 1) return {.answer = {}, .record = record};
      if (call.number == kStuck) continue;
      if (int error = context.interrupted(); error != 0) return {.answer = Answer::errno_of(error), .record = record};
    }
  }
  void let_go(size_t calls) {
    std::string bytes(calls, 'g');
    EXPECT_EQ(::write(pipe_[1], bytes.data(), calls), static_cast<ssize_t>(calls));
  }
  std::atomic<int> busy{0};

 private:
  int pipe_[2];
};

struct Scene {
  QueuedKernel kernel;
  TestHandler handler;
  Loop loop;
  std::vector<TimedRecord> records;
  uint64_t lost = 0;

  explicit Scene(LoopLimits limits = {})
      : loop(
            kernel, kernel.listener(), [this](int number) { return number <= kStuck ? &handler : nullptr; }, limits) {
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
      loop.tick(Loop::Clock::now());
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

TEST(Loop, WithoutAHandlerOrATaskNothingRuns) {
  Scene s;
  s.kernel.queue_call(1, 99);
  s.kernel.queue_call(2, kQuick, 0);
  ASSERT_TRUE(s.run_until_answers(2));
  EXPECT_EQ(s.kernel.error_of(1), ENOSYS);
  EXPECT_EQ(s.kernel.error_of(2), EACCES);
  ASSERT_TRUE(s.run_until([&] { return !s.records.empty(); }));
  EXPECT_FALSE(s.records[0].record.done);
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

TEST(Loop, WhenAllWaitTheRestIsRefused) {
  Scene s({.threads = 3});
  for (uint64_t id = 1; id <= 3; ++id) s.kernel.queue_call(id, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 3; }));
  for (uint64_t id = 4; id <= 20; ++id) s.kernel.queue_call(id, kQuick);
  ASSERT_TRUE(s.run_until_answers(17));
  EXPECT_EQ(s.kernel.error_of(4), EAGAIN);
  EXPECT_EQ(s.kernel.error_of(20), EAGAIN);
  s.handler.let_go(3);
  ASSERT_TRUE(s.run_until_answers(20));
  s.kernel.queue_call(21, kQuick);
  ASSERT_TRUE(s.run_until_answers(21));
  EXPECT_EQ(s.kernel.error_of(21), 0) << "and all is well afterwards";
}

TEST(Loop, ADecisionHasADeadline) {
  Scene s({.decide_within = 0s});
  s.kernel.queue_call(1, kStuck);
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_EQ(s.kernel.error_of(1), EACCES);
  // What the thread says when it comes back is nothing to anybody; its next call is answered as any.
  s.handler.let_go(1);
  s.kernel.queue_call(2, kQuick);
  ASSERT_TRUE(s.run_until([&] { return s.kernel.error_of(2) == 0; }));
  EXPECT_EQ(s.kernel.answer_count(), 2U);
}

TEST(Loop, AWaitEndsWithItsTarget) {
  Scene s;
  s.kernel.queue_call(1, kWaits);
  ASSERT_TRUE(s.run_until([&] { return s.handler.busy == 1; }));
  s.kernel.is_valid = [](uint64_t) { return false; };
  ASSERT_TRUE(s.run_until_answers(1));
  EXPECT_NE(s.kernel.error_of(1), 0);
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
  constexpr int kRestart = 512;  // ERESTARTSYS
  EXPECT_EQ(s.kernel.error_of(2), kRestart);
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

TEST(Loop, RecordsAreBoundedAndTheLostAreCounted) {
  Scene s({.records = 10});
  for (uint64_t id = 1; id <= 30; ++id) s.kernel.queue_call(id, kQuick);
  while (s.kernel.answer_count() < 30 || !s.loop.settled()) std::this_thread::yield();
  ASSERT_TRUE(s.run_until([&] { return s.records.size() + s.lost == 30; }));
  EXPECT_EQ(s.records.size(), 10U);
  EXPECT_EQ(s.lost, 20U);
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
