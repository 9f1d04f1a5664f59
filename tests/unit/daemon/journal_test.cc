// SPDX-License-Identifier: Apache-2.0
#include "daemon/journal.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/daemon/keep.h"

namespace wrapd::daemon {
namespace {

TEST(Journal, RefusalsAreToldApartByUserAndByWhatWasWanted) {
  auto loop = EventLoop::create();
  ASSERT_TRUE(loop);
  std::vector<audit::Event> events;
  {
    Journal journal(*loop, std::make_unique<Keep>(events));
    // A flood of one kind hides no other.
    for (int i = 0; i < 1000; ++i) journal.reject(1000, 7, "busy");
    journal.reject(1000, 7, "NotAuthorized: no", "TerminateSession", "0123");
    journal.reject(1000, 7, "NotAuthorized: no", "TerminateSession", "4567");
    journal.reject(1001, 8, "NotAuthorized: no", "Reload");
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[0].operation, "open");
    EXPECT_EQ(events[1].operation, "TerminateSession");
    EXPECT_EQ(events[1].session_id, "0123");
    EXPECT_EQ(events[1].peer_uid, 1000U);
    EXPECT_EQ(events[1].pid, 7);
    EXPECT_EQ(events[2].operation, "Reload");
    EXPECT_EQ(events[2].peer_uid, 1001U);
  }
  // What was counted is recorded at the end.
  ASSERT_EQ(events.size(), 5U);
  uint64_t counted = 0;
  for (const auto& event : events) {
    EXPECT_EQ(event.kind, audit::Kind::peer_rejected);
    counted += event.count.value_or(0);
  }
  EXPECT_EQ(counted, 1003U);
}

// A user may come with 65,536 ids: each would be a first time.
TEST(Journal, RefusalsOfManyUsersAreFewRecords) {
  std::vector<audit::Event> events;
  constexpr uid_t kUsers = 65536;
  {
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop);
    Journal journal(*loop, std::make_unique<Keep>(events));
    for (uid_t uid = 100000; uid < 100000 + kUsers; ++uid) journal.reject(uid, 1, "limit: too many");
    journal.reject(100000, 1, "limit: too many");
  }
  EXPECT_LT(events.size(), 300U);
  uint64_t told = 0;
  for (const auto& event : events) told += event.count.value_or(0);
  EXPECT_EQ(told, kUsers + 1U) << "those that are not told apart are counted";
}

}  // namespace
}  // namespace wrapd::daemon
