// SPDX-License-Identifier: Apache-2.0
#include "daemon/caller.h"

#include <gtest/gtest.h>

namespace wrapd::daemon {
namespace {

const std::string kStatus =
    "Name:\tx\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\nGid:\t2000\t2001\t2002\t2003\nNoNewPrivs:\t1\nSeccomp:"
    "\t2\nSeccomp_filters:\t3\n";

TEST(Status, HasTheEffectiveIds) {
  auto status = parse_status(kStatus);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->effective_uid, 1001U);
  EXPECT_EQ(status->effective_gid, 2001U);
  EXPECT_EQ(status->no_new_privs, 1U);
  EXPECT_EQ(status->seccomp_filters, 3U);
}

TEST(Status, WithoutAFieldIsAnError) {
  for (const char* field : {"Uid", "Gid", "NoNewPrivs", "Seccomp_filters"}) {
    std::string text = kStatus;
    text.replace(text.find("\n" + std::string(field) + ":"), 2, "\n_");
    EXPECT_FALSE(parse_status(text)) << field;
  }
  EXPECT_FALSE(parse_status(""));
  EXPECT_FALSE(parse_status("Name:\tx\nUid:\t1000\nGid:\t0\t0\t0\t0\nNoNewPrivs:\t0\nSeccomp_filters:\t0\n"));
  EXPECT_FALSE(parse_status("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNoNewPrivs:\t\nSeccomp_filters:\t0\n"));
  EXPECT_FALSE(parse_status("Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNoNewPrivs:\t0x\nSeccomp_filters:\t0\n"));
}

}  // namespace
}  // namespace wrapd::daemon
