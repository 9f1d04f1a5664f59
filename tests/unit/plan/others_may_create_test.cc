// SPDX-License-Identifier: Apache-2.0
#include "plan/others_may_create.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace wrapd::plan {
namespace {

TEST(OthersMayCreateTest, SystemDirectories) {
  EXPECT_FALSE(others_may_create("/"));
  EXPECT_FALSE(others_may_create("/usr/lib"));
  EXPECT_FALSE(others_may_create("/usr/lib/"));
  EXPECT_FALSE(others_may_create("//usr/./bin/../lib"));
  EXPECT_TRUE(others_may_create("/tmp"));
  EXPECT_TRUE(others_may_create("/tmp/missing/below"));
  EXPECT_TRUE(others_may_create("/var/tmp/.."));  // the way there can be replaced
}

// Root makes directories for others: a plan that was made before must hold after.
TEST(OthersMayCreateTest, AMissingDirectoryMayBecomeAnybodys) {
  EXPECT_TRUE(others_may_create("/usr/lib/missing/below"));
  EXPECT_TRUE(others_may_create("/missing-at-the-root"));
}

TEST(OthersMayCreateTest, WhatIsNoAbsolutePathIsTrue) {
  EXPECT_TRUE(others_may_create(""));
  EXPECT_TRUE(others_may_create("usr"));
  EXPECT_TRUE(others_may_create(std::string_view("/usr\0x", 6)));
  EXPECT_TRUE(others_may_create("/" + std::string(5000, 'x')));
}

// Needs root, for directories of root's that are nowhere beneath one of somebody else's.
class OwnTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    std::string pattern = "/run/others-may-create-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    top_ = pattern;
    ASSERT_EQ(chmod(top_.c_str(), 0755), 0);
    ASSERT_TRUE(std::filesystem::create_directory(top_ / "safe"));
    ASSERT_EQ(chmod((top_ / "safe").c_str(), 0755), 0);
    ASSERT_FALSE(others_may_create(top_.string())) << "/run itself can be written by others here";
  }
  void TearDown() override {
    if (!top_.empty()) std::filesystem::remove_all(top_);
  }
  [[nodiscard]] bool ask(const char* below) const { return others_may_create((top_ / below).string()); }
  std::filesystem::path top_;
};

TEST_F(OwnTreeTest, ModesAndOwners) {
  EXPECT_FALSE(ask("safe"));
  for (mode_t mode : {0775U, 0757U, 0777U, 01777U, 0720U}) {
    ASSERT_EQ(chmod((top_ / "safe").c_str(), mode), 0);
    EXPECT_TRUE(ask("safe")) << mode;
    EXPECT_TRUE(ask("safe/missing")) << mode;
  }
  ASSERT_EQ(chmod((top_ / "safe").c_str(), 0700), 0);
  EXPECT_FALSE(ask("safe"));
  EXPECT_TRUE(ask("safe/missing"));
  ASSERT_EQ(chown((top_ / "safe").c_str(), 65534, 65534), 0);
  EXPECT_TRUE(ask("safe"));
  EXPECT_TRUE(ask("safe/missing"));
}

TEST_F(OwnTreeTest, LinksCountWithEveryPlaceTheyLeadThrough) {
  std::filesystem::create_directory(top_ / "open");
  ASSERT_EQ(chmod((top_ / "open").c_str(), 0777), 0);
  std::filesystem::create_symlink("safe", top_ / "good");
  std::filesystem::create_symlink(top_ / "safe", top_ / "good-absolute");
  std::filesystem::create_symlink("open", top_ / "bad");
  std::filesystem::create_symlink("../safe", top_ / "open/back");
  std::filesystem::create_symlink("open/back", top_ / "through");  // ends in safe, by way of what others can change
  std::filesystem::create_symlink("loop", top_ / "loop");
  std::filesystem::create_symlink("safe/later/on", top_ / "dangling");
  EXPECT_FALSE(ask("good"));
  EXPECT_TRUE(ask("good/missing"));
  EXPECT_FALSE(ask("good-absolute"));
  EXPECT_TRUE(ask("dangling"));
  EXPECT_TRUE(ask("bad"));
  EXPECT_TRUE(ask("through"));
  EXPECT_TRUE(ask("loop"));
  ASSERT_EQ(lchown((top_ / "good").c_str(), 65534, 65534), 0);
  EXPECT_TRUE(ask("good"));
}

}  // namespace
}  // namespace wrapd::plan
