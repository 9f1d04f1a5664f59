// SPDX-License-Identifier: Apache-2.0
#include "daemon/question_table.h"

#include <gtest/gtest.h>

namespace wrapd::daemon {
namespace {

class Questions : public ::testing::Test {
 protected:
  Questions() : loop_(std::move(*EventLoop::create())), table_(loop_, std::chrono::milliseconds(0)) {}

  // As many as there is room for, in as many sessions as that takes.
  size_t fill(uint64_t user, size_t most) {
    size_t asked = 0;
    while (asked < most && table_.has_room(user)) {
      const SessionFacts facts{
          .id = std::to_string(user) + "-" + std::to_string(asked / QuestionTable::kMostPerSession),
          .uid = next_uid_++};
      const wire::QuestionReport report{.question = asked % QuestionTable::kMostPerSession, .timeout_ms = 600'000};
      EXPECT_TRUE(table_.add(facts, user, report, false));
      ++asked;
    }
    return asked;
  }

  EventLoop loop_;
  QuestionTable table_;
  uid_t next_uid_ = 100000;  // a user may come with many
};

TEST_F(Questions, AUserHasSoManyWhateverItsSessionsAre) {
  EXPECT_EQ(fill(1000, 10'000), QuestionTable::kMostPerUser);
  EXPECT_EQ(fill(1001, 10), 10U);
  table_.remove("1000-0", 0, "answered");
  EXPECT_TRUE(table_.has_room(1000));
}

TEST_F(Questions, ManyUsersLeaveTheOthersAFew) {
  size_t asked = 0;
  for (uid_t uid = 1000; asked < QuestionTable::kMost; ++uid) asked += fill(uid, 10'000);
  EXPECT_EQ(fill(5000, 10'000), QuestionTable::kFew);
  EXPECT_EQ(fill(0, 10'000), QuestionTable::kMostPerUser);
}

}  // namespace
}  // namespace wrapd::daemon
