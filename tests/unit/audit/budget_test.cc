// SPDX-License-Identifier: Apache-2.0
#include "audit/budget.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "audit/repeats.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::audit {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

Event denial(const std::string& path, const std::string& rule = "r", pid_t pid = 1) {
  Event event = make_event(kind_of(policy::Class::unix_socket));
  event.pid = pid;
  event.comm = "program";
  event.operation = "connect";
  event.decision = "deny";
  event.action = "denied";
  event.rule = rule;
  event.policy = "p";
  event.path = path;
  return event;
}

class RepeatedEvents : public ::testing::Test {
 protected:
  uint64_t stood_for() {
    uint64_t sum = 0;
    for (const Event& event : passed_) sum += event.count.value_or(1);
    return sum;
  }
  std::vector<Event> passed_;
  Repeats repeats_{[this](Event event) { passed_.push_back(std::move(event)); }};
  Clock::time_point now_ = Clock::now();
};

TEST_F(RepeatedEvents, AreOneRecordWithTheirNumber) {
  for (int i = 0; i < 1000; ++i) repeats_.add(denial("/x", "r", 1 + i), now_ + 1ms * (i / 2));
  ASSERT_EQ(passed_.size(), 1U) << "the first comes at once";
  EXPECT_FALSE(passed_[0].count);
  EXPECT_EQ(repeats_.next_due(), now_ + 1s);
  repeats_.pass_due(now_ + 999ms);
  EXPECT_EQ(passed_.size(), 1U);
  repeats_.pass_due(now_ + 1s);
  ASSERT_EQ(passed_.size(), 2U);
  EXPECT_EQ(passed_[1].count, 999U);
  EXPECT_EQ(passed_[1].pid, 1000) << "the last one's";
  EXPECT_FALSE(repeats_.next_due());
}

TEST_F(RepeatedEvents, OfOneKindInAFloodBecomeFewer) {
  for (int i = 0; i < 60'000; ++i) repeats_.add(denial("/x"), now_ + 10ms * i);
  repeats_.pass_all();
  EXPECT_EQ(stood_for(), 60'000U);
  EXPECT_LE(passed_.size(), 20U);
}

TEST_F(RepeatedEvents, AfterAPauseComeAtOnceAgain) {
  repeats_.add(denial("/x"), now_);
  repeats_.add(denial("/x"), now_ + 1100ms);
  EXPECT_EQ(passed_.size(), 2U);
  EXPECT_FALSE(passed_[1].count);
}

TEST_F(RepeatedEvents, AreNotThoseThatDiffer) {
  Event other[] = {denial("/x"), denial("/x"), denial("/x"), denial("/x"), denial("/x"), denial("/x")};
  other[1].comm = "other";
  other[2].abstract = true;
  other[3].error = 13;
  other[4].action = "allowed";
  other[5].path = "/x/y";
  for (const Event& event : other) repeats_.add(event, now_);
  EXPECT_EQ(passed_.size(), std::size(other));
  repeats_.pass_all();
  EXPECT_EQ(passed_.size(), std::size(other));
}

// A program that never does the same thing twice: bounded memory, and no record is held back.
TEST_F(RepeatedEvents, ThatAreAllDifferentArePassedOn) {
  for (int i = 0; i < 10'000; ++i) repeats_.add(denial(std::to_string(i)), now_);
  EXPECT_EQ(passed_.size(), 10'000U);
}

class Shares : public ::testing::Test {
 protected:
  [[nodiscard]] Allowance open() const {
    auto allowance = Allowance::open(temporary_.fd(), "records");
    EXPECT_TRUE(allowance) << allowance.error().message;
    return std::move(*allowance);
  }
  [[nodiscard]] Budget budget(size_t slot = 1) const {
    return Budget(Budget::Share{.allowance = open(), .slot = slot});
  }

  test::TemporaryDirectory temporary_;
  std::string directory_ = temporary_.path();
  Clock::time_point now_ = Clock::now();
};

// What a flood may write: the budget, and no more than its share a second.
TEST_F(Shares, BoundASession) {
  Budget budget = this->budget();
  uint64_t bytes = 0;
  uint64_t recorded = 0;
  uint64_t told = 0;
  constexpr uint64_t kEvents = 20'000;
  for (uint64_t i = 0; i < kEvents; ++i) {
    const Event event = denial("/run/" + std::to_string(i));
    const auto now = now_ + 1ms * i;
    if (budget.admits(event, now)) {
      ++recorded;
      bytes += to_json(event).size();
    }
    if (auto losses = budget.losses(now, false)) told += *losses->count;
  }
  if (auto losses = budget.losses(now_, true)) told += *losses->count;
  EXPECT_GE(recorded, 100U);
  EXPECT_LT(bytes, static_cast<uint64_t>(Budget::kBurst));
  EXPECT_EQ(recorded + told, kEvents) << "what is in no record of its own is counted in one";
  EXPECT_EQ(budget.lost(), kEvents - recorded);
}

TEST_F(Shares, HaveRoomForTheFirstOfEachKind) {
  Budget budget = this->budget();
  for (int i = 0; i < 2000; ++i) static_cast<void>(budget.admits(denial("/run/" + std::to_string(i)), now_));
  ASSERT_FALSE(budget.admits(denial("/run/more"), now_));
  for (unsigned i = 0; i < Budget::kFirstOfAKind; ++i) EXPECT_TRUE(budget.admits(denial("/docker", "no-docker"), now_));
  EXPECT_FALSE(budget.admits(denial("/docker", "no-docker"), now_));
  // As many kinds as it likes, no program has more of them.
  int more = 0;
  for (int i = 0; i < 1000; ++i) more += budget.admits(denial("/x", "rule" + std::to_string(i)), now_) ? 1 : 0;
  EXPECT_LE(more, static_cast<int>(Budget::kMostKinds));
  EXPECT_TRUE(budget.admits(make_event(Kind::session_closed), now_));
}

TEST_F(Shares, TellOfLossesAtLongerAndLongerIntervals) {
  Budget budget = this->budget();
  int reports = 0;
  for (auto now = now_; now < now_ + 1h; now += 1s) {
    for (uint64_t i = 0; i < 10; ++i)
      static_cast<void>(
          budget.admits(denial("/" + std::to_string(now.time_since_epoch().count()) + std::to_string(i)), now));
    reports += budget.losses(now, false) ? 1 : 0;
  }
  EXPECT_GE(reports, 5U);
  EXPECT_LE(reports, 20U);
}

// Sessions one after the other, each with its own first refusals: all of them together have what the user has.
TEST_F(Shares, BoundAUserInAllSessions) {
  constexpr uint64_t kLeft = 1U << 20;
  ASSERT_TRUE(
      open().take(1, true, Allowance::kUserBurst + Allowance::kUserReserve - kLeft, Allowance::Use::must, now_));
  uint64_t bytes = 0;
  uint64_t recorded = 0;
  uint64_t told = 0;
  constexpr uint64_t kSessions = 30;
  constexpr uint64_t kEach = 100;
  for (uint64_t i = 0; i < kSessions; ++i) {
    Budget budget = this->budget();
    for (uint64_t k = 0; k < kEach; ++k) {
      const Event event = denial(std::string(300, 'x'), "rule" + std::to_string(k));
      if (!budget.admits(event, now_)) continue;
      ++recorded;
      bytes += to_json(event).size();
    }
    if (auto losses = budget.losses(now_, true)) told += *losses->count;
    if (auto losses = budget.losses_of_the_user(now_)) told += *losses->count;
  }
  EXPECT_GT(recorded, 100U);
  EXPECT_LT(bytes, kLeft);
  EXPECT_EQ(recorded + told + open().take_unrecorded(1), kSessions * kEach);
  // Another user is not touched by it.
  Budget other = this->budget(2);
  EXPECT_TRUE(other.admits(make_event(Kind::session_opened), now_));
  EXPECT_TRUE(other.admits(denial("/x"), now_));
}

// Users enough to use up what all have together: root keeps its own.
// All that is for all is used up by a few.
size_t use_up(Allowance& allowance, Clock::time_point now) {
  size_t slot = 1;
  for (; allowance.take(slot, true, 1U << 20, Allowance::Use::must, now); ++slot) {
    while (allowance.take(slot, true, 16U << 10, Allowance::Use::must, now)) continue;
  }
  return slot;
}

TEST_F(Shares, LeaveRoomForRoot) {
  Allowance allowance = open();
  use_up(allowance, now_);
  EXPECT_FALSE(allowance.take(300, true, 1000, Allowance::Use::ordinary, now_));
  Budget root(Budget::Share{.allowance = open(), .slot = 301, .of_all = false});
  EXPECT_TRUE(root.admits(denial("/x"), now_));
  EXPECT_TRUE(allowance.take(301, false, 1000, Allowance::Use::ordinary, now_));
}

TEST_F(Shares, LeaveEachTheFirstRecords) {
  Allowance allowance = open();
  const size_t users = use_up(allowance, now_);
  EXPECT_LE(users, 5U);
  Budget budget = this->budget(100);
  EXPECT_TRUE(budget.admits(make_event(Kind::session_opened), now_));
  for (unsigned i = 0; i < Budget::kFirstOfAKind; ++i) EXPECT_TRUE(budget.admits(denial("/docker"), now_));
  EXPECT_FALSE(budget.admits(denial("/docker"), now_));
  EXPECT_TRUE(budget.admits(make_event(Kind::session_closed), now_));
  // No more than these few, and nothing more for those who have used up theirs.
  while (allowance.take(100, true, 1000, Allowance::Use::must, now_)) continue;
  EXPECT_FALSE(allowance.take(1, true, 1000, Allowance::Use::must, now_));
  const auto refilled = now_ + std::chrono::seconds(Allowance::kFew / Allowance::kUserRate);
  EXPECT_FALSE(allowance.full(100, refilled - 10s));
  EXPECT_TRUE(allowance.full(100, refilled));
}

TEST_F(Shares, CountOnlyWhatWasRecordedAmongTheFirst) {
  Allowance allowance = open();
  ASSERT_TRUE(allowance.take(1, true, Allowance::kUserBurst + Allowance::kUserReserve, Allowance::Use::must, now_));
  Budget budget = this->budget(1);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(budget.admits(denial("/docker"), now_));
  const auto later = now_ + std::chrono::minutes(1);
  for (unsigned i = 0; i < Budget::kFirstOfAKind; ++i) EXPECT_TRUE(budget.admits(denial("/docker"), later)) << i;
  EXPECT_FALSE(budget.admits(denial("/docker"), later));
}

TEST_F(Shares, AreFilledWithTime) {
  Allowance allowance = open();
  ASSERT_TRUE(allowance.full(1, now_));
  ASSERT_TRUE(allowance.take(1, true, Allowance::kUserBurst, Allowance::Use::ordinary, now_));
  EXPECT_FALSE(allowance.full(1, now_));
  EXPECT_FALSE(allowance.take(1, true, 1000, Allowance::Use::ordinary, now_ + 1s));
  EXPECT_TRUE(allowance.take(1, true, 1000, Allowance::Use::ordinary, now_ + 2s));
  EXPECT_TRUE(allowance.take(1, true, 1000, Allowance::Use::must, now_ + 2s));
}

TEST_F(Shares, OutliveWhoMadeThem) {
  {
    Allowance before = open();
    before.give(7, 1000);
    ASSERT_TRUE(before.take(7, true, Allowance::kUserBurst, Allowance::Use::ordinary, now_));
    before.add_unrecorded(7, 3);
  }
  Allowance after = open();
  EXPECT_EQ(after.owner(7), 1000U);
  EXPECT_FALSE(after.owner(8));
  EXPECT_FALSE(after.take(7, true, Allowance::kUserBurst, Allowance::Use::ordinary, now_));
  EXPECT_EQ(after.take_unrecorded(7), 3U);
  EXPECT_EQ(after.take_unrecorded(7), 0U);
}

TEST_F(Shares, AreNotTakenFromOthers) {
  ASSERT_EQ(::symlink("elsewhere", (directory_ + "/records").c_str()), 0);
  EXPECT_FALSE(Allowance::open(temporary_.fd(), "records"));
  std::filesystem::remove(directory_ + "/records");
  UniqueFd other(::open((directory_ + "/records").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  ASSERT_EQ(::fchmod(other.get(), 0666), 0);
  EXPECT_FALSE(Allowance::open(temporary_.fd(), "records")) << "everybody can write it";
}

TEST_F(Shares, OfAnotherVersionAreReplaced) {
  Allowance first = open();
  struct stat made {};
  ASSERT_EQ(::fstat(first.fd(), &made), 0);
  const std::string path = directory_ + "/records";
  const auto spoil = {
      +[](int fd) { return ::ftruncate(fd, 0); },
      +[](int fd) { return ::ftruncate(fd, 100); },
      +[](int fd) { return ::ftruncate(fd, 1 << 20); },
      +[](int fd) { return ::pwrite(fd, "x", 1, 0) == 1 ? 0 : -1; },
      +[](int fd) { return ::pwrite(fd, "\x7f", 1, 8) == 1 ? 0 : -1; },
  };
  for (const auto& how : spoil) {
    UniqueFd old(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(how(old.get()), 0);
    EXPECT_FALSE(Allowance::map(old.get()));
    Allowance made_new = open();
    EXPECT_TRUE(made_new.take(1, true, 1000, Allowance::Use::must, now_));
    struct stat was {};
    struct stat is {};
    ASSERT_EQ(::fstat(old.get(), &was), 0);
    ASSERT_EQ(::stat(path.c_str(), &is), 0);
    EXPECT_NE(was.st_ino, is.st_ino);
    EXPECT_EQ(is.st_size, made.st_size);
  }
  // What was left of one that was not finished does not matter, and nothing is left of those that are.
  ASSERT_EQ(::close(::open((path + ".new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
  std::filesystem::remove(path);
  const Allowance anew = open();
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

// Exits with 0 if the file is refused where it has no room, and nothing is left of it.
[[noreturn]] void open_where_it_is_full(const std::string& directory) {
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      ::mount("none", directory.c_str(), "tmpfs", 0, "size=64k") < 0) {
    std::_Exit(2);
  }
  const UniqueFd filler(::open((directory + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::string block(4096, 'x');
  while (::write(filler.get(), block.data(), block.size()) > 0) continue;
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto allowance = Allowance::open(fd.get(), "records");
  // Where it was opened, it must bear being written to.
  if (allowance) std::_Exit(allowance->take(1, true, 1, Allowance::Use::must, Clock::now()) ? 3 : 4);
  const bool left = std::filesystem::exists(directory + "/records.new");
  std::_Exit(allowance.error().code == ENOSPC && !left ? 0 : 5);
}

TEST_F(Shares, NeedRoomInTheFileSystem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  EXPECT_EXIT(open_where_it_is_full(directory_), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace wrapd::audit
