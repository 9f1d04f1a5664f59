// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "daemon/quota.h"

namespace wrapd::daemon {
namespace {

TEST(SubordinateIds, ThoseOfOneOwnerAreOneUser) {
  const auto ids = SubordinateIds::parse("alice:100000:65536\nbob:165536:65536\nalice:300000:10\n1003:400000:1\n");
  EXPECT_FALSE(ids.contains(99999));
  EXPECT_EQ(ids.user_of(99999), 99999U);
  EXPECT_TRUE(ids.contains(100000));
  EXPECT_EQ(ids.user_of(100000), ids.user_of(165535));
  EXPECT_EQ(ids.user_of(100000), ids.user_of(300009));
  EXPECT_NE(ids.user_of(100000), ids.user_of(165536));
  EXPECT_EQ(ids.user_of(300010), 300010U);
  EXPECT_TRUE(ids.contains(400000));
  EXPECT_GT(ids.user_of(400000), UINT32_MAX) << "no uid is taken for an owner";
  EXPECT_EQ(ids.standing_of(100000), Standing::no_account);
  EXPECT_EQ(ids.standing_of(1000), Standing::account);
  EXPECT_EQ(ids.standing_of(0), Standing::root);
  const auto again = SubordinateIds::parse("zoe:1000000:5\nalice:100000:65536\n");
  EXPECT_EQ(again.user_of(100000), ids.user_of(100000)) << "counted on after a reload";
}

TEST(SubordinateIds, WhatIsNoRangeIsLeftOut) {
  for (const char* text : {"", "\n", "alice", "alice:1", "alice::", ":1:1", "alice:a:1", "alice:1:-1", "alice:1:0",
                           "alice:0:5", "alice:99999999999:1", "alice:1:1:1", "#alice:1:1x", "alice: 1:1"}) {
    const auto ids = SubordinateIds::parse(text);
    for (uid_t uid : {0U, 1U, 2U}) EXPECT_FALSE(ids.contains(uid)) << text;
  }
  const auto last = SubordinateIds::parse("alice:4294967295:4294967295");
  EXPECT_TRUE(last.contains(UINT32_MAX));
  EXPECT_FALSE(last.contains(0));
}

TEST(SubordinateIds, OverlappingRangesHaveOneOwnerEach) {
  const auto ids = SubordinateIds::parse("b:15:10\na:10:10\nc:12:2\n");
  EXPECT_EQ(ids.user_of(10), ids.user_of(19));
  EXPECT_EQ(ids.user_of(12), ids.user_of(10));
  EXPECT_NE(ids.user_of(20), ids.user_of(19));
  EXPECT_TRUE(ids.contains(24));
  EXPECT_FALSE(ids.contains(25));
}

TEST(QuotaOfAll, KeepsPlacesForAccountsAndForRoot) {
  constexpr size_t kLimit = 64;
  Quota quota;
  std::vector<Quota::Ticket> tickets;
  auto fill = [&](Standing standing) {
    size_t taken = 0;
    for (uint64_t user = 1; !quota.full(kLimit, standing); ++user, ++taken) {
      tickets.push_back(quota.take(user, standing));
    }
    return taken;
  };
  EXPECT_EQ(fill(Standing::no_account), 44U);
  EXPECT_EQ(fill(Standing::account), 16U);
  EXPECT_EQ(fill(Standing::no_account), 0U);
  EXPECT_EQ(fill(Standing::root), 4U);
  EXPECT_EQ(quota.total(), kLimit);
  tickets.clear();
  EXPECT_EQ(quota.total(), 0U);
  EXPECT_EQ(quota.of(1), 0U);
  EXPECT_EQ(fill(Standing::account), 60U);
}

TEST(QuotaOfAll, ASmallLimitIsStillALimit) {
  Quota quota;
  EXPECT_FALSE(quota.full(1, Standing::no_account));
  const auto ticket = quota.take(1, Standing::no_account);
  for (Standing standing : {Standing::no_account, Standing::account, Standing::root})
    EXPECT_TRUE(quota.full(1, standing));
}

}  // namespace
}  // namespace wrapd::daemon
