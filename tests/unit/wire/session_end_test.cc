// SPDX-License-Identifier: Apache-2.0
#include "wire/session_end.h"

#include <gtest/gtest.h>

namespace wrapd::wire {
namespace {

// Programs that read the journal look for these words.
TEST(SessionEnd, EachReasonHasItsWords) {
  EXPECT_EQ(to_string(SessionEnd{}), "finished");
  EXPECT_EQ(to_string(SessionEnd{EndReason::terminated, "uid 0"}), "terminated by uid 0");
}

TEST(SessionEnd, TheUserIsToldInOtherWords) {
  EXPECT_EQ(to_user({EndReason::terminated, "uid 0"}), "the session was ended by uid 0");
  EXPECT_EQ(to_user({EndReason::died}), "the supervisor of this session has ended");
}

}  // namespace
}  // namespace wrapd::wire
