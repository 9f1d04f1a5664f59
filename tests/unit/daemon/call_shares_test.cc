// SPDX-License-Identifier: Apache-2.0
#include "daemon/call_shares.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace wrapd::daemon {
namespace {

constexpr size_t kSessions = 1024;  // limits.sessions
constexpr size_t kSessionsPerUser = 64;

class Given {
 public:
  size_t open(uint64_t user) {
    const size_t share = CallShares::next(quota, user);
    EXPECT_GE(share, CallShares::kFew);
    EXPECT_LE(share, CallShares::kMost);
    tickets.push_back(quota.take(user, user == 0 ? Standing::root : Standing::account, share));
    return share;
  }
  Quota quota;
  std::vector<Quota::Ticket> tickets;
};

size_t tasks_max() {
  std::ifstream unit(WRAPD_TEST_SOURCE_ROOT "/units/wrapd.service.in");
  for (std::string line; std::getline(unit, line);) {
    if (line.starts_with("TasksMax=")) return std::stoul(line.substr(9));
  }
  return 0;
}

TEST(CallShares, TheFirstSessionOfAUserHasMany) {
  Given given;
  EXPECT_EQ(given.open(1000), CallShares::kMost);
  EXPECT_GT(given.open(1001), CallShares::kMost / 2);
  EXPECT_EQ(given.open(0), CallShares::kMost) << "root has its own";
}

TEST(CallShares, OneUsersSessionsLeaveTheOthersTheirs) {
  Given given;
  for (size_t i = 0; i < kSessionsPerUser; ++i) given.open(1000);
  EXPECT_LE(given.quota.of(1000), CallShares::kPerUser + CallShares::kFew * kSessionsPerUser);
  EXPECT_GT(given.open(1001), CallShares::kMost / 2);
  // They come back.
  given.tickets.clear();
  EXPECT_EQ(given.quota.total(), 0U);
  EXPECT_EQ(given.open(1000), CallShares::kMost);
}

TEST(CallShares, AllSessionsFitWhatTheServiceMayHave) {
  Given given;
  for (uint64_t user = 0; given.tickets.size() < kSessions; ++user) {
    for (size_t i = 0; i < kSessionsPerUser; ++i) given.open(user);
  }
  const size_t tasks = tasks_max();
  ASSERT_GT(tasks, 0U);
  EXPECT_LE(given.quota.total(), CallShares::kInAll + CallShares::kPerUser + CallShares::kFew * kSessions);
  EXPECT_LE(2 * given.quota.total() + 32 * kSessions, CallShares::most_threads(kSessions));
  EXPECT_LE(CallShares::most_threads(kSessions), tasks / 4 * 3);
  // A user alone is far from it.
  EXPECT_LE(2 * (CallShares::kPerUser + CallShares::kFew * kSessionsPerUser) + 32 * kSessionsPerUser, tasks / 8);
}

}  // namespace
}  // namespace wrapd::daemon
