// SPDX-License-Identifier: Apache-2.0
#include "daemon/quota.h"

#include <gtest/gtest.h>

#include <vector>

namespace wrapd::daemon {
namespace {

TEST(Quota, AFewUsersDoNotUseUpWhatIsThereForAll) {
  Quota quota;
  std::vector<Quota::Ticket> taken;
  const auto take = [&](uid_t uid) {
    const bool room = quota.has_room(uid, 4, 8, 1);
    if (room) taken.push_back(quota.take(uid));
    return room;
  };
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(take(1));
  EXPECT_FALSE(take(1));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(take(2));
  // All are taken: each of the others still gets one, and root its own.
  EXPECT_TRUE(take(3));
  EXPECT_FALSE(take(3));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(take(0));
  EXPECT_FALSE(take(0));
  taken.clear();
  EXPECT_EQ(quota.total(), 0U);
  // Root's take nothing away.
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(take(0));
  EXPECT_EQ(quota.total_but_root(), 0U);
  for (uid_t uid = 1; uid <= 2; ++uid) {
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(take(uid));
  }
}

}  // namespace
}  // namespace wrapd::daemon
