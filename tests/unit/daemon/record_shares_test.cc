// SPDX-License-Identifier: Apache-2.0
#include "daemon/record_shares.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/keep.h"

namespace wrapd::daemon {
namespace {

using namespace std::chrono_literals;

class RecordSharesTest : public ::testing::Test {
 protected:
  static constexpr size_t kUsers = audit::Allowance::kSlots - 2;
  static constexpr size_t kShared = audit::Allowance::kSlots - 1;

  std::unique_ptr<RecordShares> shares(std::chrono::milliseconds interval = RecordShares::kInterval) {
    return std::move(RecordShares::create(loop_, journal_, sessions_, top_.fd(), interval).value());
  }
  // As a supervisor has it.
  audit::Allowance allowance(const RecordShares& of) { return std::move(audit::Allowance::map(of.fd()).value()); }
  bool run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!done() && std::chrono::steady_clock::now() < deadline) EXPECT_TRUE(loop_.run_once(100ms));
    return done();
  }

  test::TemporaryDirectory top_;
  EventLoop loop_ = std::move(*EventLoop::create());
  std::vector<audit::Event> events_;
  Journal journal_{loop_, std::make_unique<Keep>(events_)};
  Quota sessions_;
};

TEST_F(RecordSharesTest, EachUserHasASlotAlsoAfterARestart) {
  constexpr uint64_t kSubordinate = (uint64_t{1} << 32) + 7;
  size_t slot = 0;
  {
    auto before = shares();
    slot = before->slot_of(kSubordinate);
    EXPECT_NE(before->slot_of(7), slot);
    EXPECT_EQ(before->slot_of(kSubordinate), slot);
  }
  auto after = shares();
  EXPECT_EQ(after->slot_of(kSubordinate), slot);
  allowance(*after).add_unrecorded(slot, 3);
  after.reset();
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].count, 3U);
  EXPECT_FALSE(events_[0].uid) << "it is nobody's uid";
}

TEST_F(RecordSharesTest, ASlotIsGivenAwayWhenNobodyUsesIt) {
  auto shares = this->shares();
  std::map<uint64_t, Quota::Ticket> open;
  std::map<uint64_t, size_t> slots;
  for (uint64_t user = 1; user <= kUsers; ++user) {
    open[user] = sessions_.take(user);
    slots[user] = shares->slot_of(user);
  }
  auto mine = allowance(*shares);
  mine.add_unrecorded(slots[7], 5);
  EXPECT_EQ(shares->slot_of(5000), kShared) << "all have sessions";
  open.erase(8);
  ASSERT_TRUE(mine.take(slots[8], true, 100'000, audit::Allowance::Use::must, std::chrono::steady_clock::now()));
  EXPECT_EQ(shares->slot_of(5000), kShared) << "its owner would gain by a new one";
  open.erase(7);
  EXPECT_EQ(shares->slot_of(5000), slots[7]);
  // What the one before could not record is in a record of its own.
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].kind, audit::Kind::events_lost);
  EXPECT_EQ(events_[0].uid, 7U);
  EXPECT_EQ(events_[0].count, 5U);
}

TEST_F(RecordSharesTest, LossesAreRecordedAsLongAsASessionIsOpen) {
  auto shares = this->shares(5ms);
  std::optional<Quota::Ticket> open = sessions_.take(1);
  const size_t slot = shares->slot_of(1);
  bool quiet = false;
  auto pause = loop_.after(100ms, [&] { quiet = true; });
  ASSERT_TRUE(run_until([&] { return quiet; }));
  allowance(*shares).add_unrecorded(slot, 2);
  ASSERT_TRUE(run_until([&] { return !events_.empty(); }));
  EXPECT_EQ(events_[0].count, 2U);
  // The last ones, too, that it leaves behind.
  allowance(*shares).add_unrecorded(slot, 4);
  open.reset();
  ASSERT_TRUE(run_until([&] { return events_.size() == 2; }));
  EXPECT_EQ(events_[1].count, 4U);
}

}  // namespace
}  // namespace wrapd::daemon
