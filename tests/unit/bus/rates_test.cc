// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/rates.h"

#include <gtest/gtest.h>

namespace wrapd::daemon::bus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Rates::Clock::time_point kStart{std::chrono::hours(1)};

TEST(Rates, ABurstThenTheRate) {
  Rates rates({.per_second = 10, .burst = 20});
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(rates.take(1, 1, kStart));
  EXPECT_FALSE(rates.take(1, 1, kStart));
  EXPECT_TRUE(rates.take(1, 1, kStart + milliseconds(100)));
  EXPECT_FALSE(rates.take(1, 1, kStart + milliseconds(100)));
}

TEST(Rates, WhatIsRefusedCostsNothing) {
  Rates rates({.per_second = 10, .burst = 20});
  EXPECT_TRUE(rates.take(1, 15, kStart));
  EXPECT_FALSE(rates.take(1, 6, kStart));
  EXPECT_TRUE(rates.take(1, 5, kStart));
}

TEST(Rates, AUserDoesNotPayForAnother) {
  Rates rates({.per_second = 10, .burst = 20});
  EXPECT_TRUE(rates.take(1, 20, kStart));
  EXPECT_FALSE(rates.take(1, 1, kStart));
  EXPECT_TRUE(rates.take(2, 20, kStart));
}

TEST(Rates, WhatCostsMoreThanABurstTakesAWholeOne) {
  Rates rates({.per_second = 10, .burst = 20});
  EXPECT_TRUE(rates.take(1, 1000, kStart));
  EXPECT_FALSE(rates.take(1, 1000, kStart + seconds(1)));
  EXPECT_TRUE(rates.take(1, 1000, kStart + seconds(2)));
}

TEST(Rates, WhoCallsLittleHasAFullBucket) {
  Rates rates({.per_second = 10, .burst = 20});
  EXPECT_EQ(rates.fullness(1, kStart), 1);
  EXPECT_TRUE(rates.take(1, 15, kStart));
  EXPECT_EQ(rates.fullness(1, kStart), 0.25);
  EXPECT_EQ(rates.fullness(1, kStart + seconds(1)), 0.75);
  EXPECT_EQ(rates.fullness(2, kStart), 1);
}

TEST(Rates, UsersAreBoundedAndForgotten) {
  Rates rates({.per_second = 10, .burst = 20});
  for (uid_t uid = 0; uid < Rates::kMaxUsers; ++uid) EXPECT_TRUE(rates.take(uid, 20, kStart));
  EXPECT_FALSE(rates.take(1'000'000, 1, kStart));
  EXPECT_EQ(rates.users(), Rates::kMaxUsers);
  // All buckets are full again.
  EXPECT_TRUE(rates.take(1'000'000, 1, kStart + seconds(3)));
  EXPECT_EQ(rates.users(), 1U);
}

}  // namespace
}  // namespace wrapd::daemon::bus
