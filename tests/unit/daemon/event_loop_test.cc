// SPDX-License-Identifier: Apache-2.0
#include "daemon/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <memory>

#include "base/unique_fd.h"
#include "daemon/quota.h"
#include "daemon/user_directory.h"
#include "daemon/worker.h"

namespace wrapd::daemon {
namespace {

using std::chrono::milliseconds;

TEST(EventSource, MayEndItselfInItsHandler) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  UniqueFd reading(pipe[0]);
  UniqueFd writing(pipe[1]);
  ASSERT_EQ(::write(writing.get(), "x", 1), 1);
  auto captured = std::make_shared<int>(0);
  EventSource source;
  auto made = loop->on_io(reading.get(), EPOLLIN, [&, captured](uint32_t) {
    source.reset();
    ++*captured;  // still ours
    loop->stop();
  });
  ASSERT_TRUE(made);
  source = std::move(*made);
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(*captured, 1);
  EXPECT_FALSE(source.active());
  EXPECT_EQ(captured.use_count(), 1) << "the handler is gone";
}

TEST(Worker, AFullQueueIsSaid) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  auto worker = Worker::create(*loop, 1, 1);
  ASSERT_TRUE(worker);
  auto started = std::make_shared<std::latch>(1);
  auto release = std::make_shared<std::latch>(1);
  int done = 0;
  auto finish = [&] {
    if (++done == 2) loop->stop();
  };
  ASSERT_TRUE((*worker)->submit([=]() -> Worker::Completion {
    started->count_down();
    release->wait();
    return finish;
  }));
  started->wait();
  ASSERT_TRUE((*worker)->submit([=]() -> Worker::Completion { return finish; }));
  auto third = (*worker)->submit([=]() -> Worker::Completion { return finish; });
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, EAGAIN);
  release->count_down();
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(done, 2);
}

TEST(Worker, DoesNotWaitForAJobThatHangs) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  auto started = std::make_shared<std::latch>(1);
  auto release = std::make_shared<std::latch>(1);
  auto ended = std::make_shared<std::latch>(1);
  {
    auto worker = Worker::create(*loop, 1, 1);
    ASSERT_TRUE(worker);
    ASSERT_TRUE((*worker)->submit([=]() -> Worker::Completion {
      started->count_down();
      release->wait();
      ended->count_down();
      return [] { ADD_FAILURE() << "nobody is there to hear it"; };
    }));
    started->wait();
  }
  release->count_down();
  ended->wait();
}

// The name service hangs for one user; another is answered, and the first once it comes back.
TEST(UserDirectory, OneUsersLookupDoesNotDelayAnother) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  auto release = std::make_shared<std::latch>(1);
  auto calls = std::make_shared<std::atomic<int>>(0);
  auto users = UserDirectory::create(*loop, [=](uid_t uid) -> Result<UserEntry> {
    ++*calls;
    if (uid == 1) release->wait();
    return UserEntry{.name = "u" + std::to_string(uid), .home = "/h"};
  });
  ASSERT_TRUE(users);
  std::string order;
  auto note = [&](const Result<UserEntry>& entry) {
    order += entry->name + " ";
    if (entry->name == "u2") release->count_down();
    if (order == "u2 u1 u1 ") loop->stop();
  };
  (*users)->find(1, note);
  (*users)->find(1, note);
  (*users)->find(2, note);
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(*calls, 2) << "one question per user at a time";
  bool known = false;
  (*users)->find(1, [&](const Result<UserEntry>& entry) { known = entry.has_value(); });
  EXPECT_TRUE(known) << "answered at once";
  EXPECT_EQ(*calls, 2);
}

TEST(UserDirectory, KnowsRootAndNobodyElse) {
  EXPECT_EQ(UserDirectory::ask_name_services(0)->name, "root");
  auto unknown = UserDirectory::ask_name_services(4'000'000'000U);
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->name, "");
}

TEST(Quota, TicketsComeBack) {
  Quota quota;
  auto a = quota.take(1);
  {
    auto b = quota.take(1);
    auto c = std::move(b);
    EXPECT_EQ(quota.of(1), 2U);
    EXPECT_EQ(quota.total(), 2U);
  }
  EXPECT_EQ(quota.of(1), 1U);
  a = quota.take(2);
  EXPECT_EQ(quota.of(2), 1U);
  a = Quota::Ticket();
  EXPECT_EQ(quota.total(), 0U);
}

}  // namespace
}  // namespace wrapd::daemon
