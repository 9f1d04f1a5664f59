// SPDX-License-Identifier: Apache-2.0
#include "plan/others_may_create.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/unique_fd.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::plan {
namespace {

bool others_may_create(std::string_view directory) {
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
  return plan::others_may_create(root.get(), directory);
}

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
    top_ = temporary_.emplace("/run", 0755).path();
    ASSERT_TRUE(std::filesystem::create_directory(top_ / "safe"));
    ASSERT_EQ(chmod((top_ / "safe").c_str(), 0755), 0);
    ASSERT_FALSE(others_may_create(top_.string())) << "/run itself can be written by others here";
  }
  [[nodiscard]] bool ask(const char* below) const { return others_may_create((top_ / below).string()); }
  std::optional<test::TemporaryDirectory> temporary_;
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

// A directory plays the root of a caller, and what is in it the whole world.
class OtherRootTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    top_ = temporary_.emplace("/tmp", 0755).path();
    std::filesystem::create_directories(top_ / "run/deep");
    std::filesystem::create_directories(top_ / "home/alice/run");
    ASSERT_EQ(chown((top_ / "home/alice").c_str(), 65534, 0), 0);
    std::filesystem::create_symlink("/run", top_ / "var_run");
    std::filesystem::create_symlink("../../../run/deep", top_ / "run/deep/up");
    std::filesystem::create_symlink("/home/alice", top_ / "run/alices");
    std::filesystem::create_symlink("/run", top_ / "home/alice/link");
    root_.reset(::open(top_.c_str(), O_PATH | O_CLOEXEC));
  }
  [[nodiscard]] bool others(std::string_view path) const { return plan::others_may_create(root_.get(), path); }
  std::optional<test::TemporaryDirectory> temporary_;
  std::filesystem::path top_;
  UniqueFd root_;
};

TEST_F(OtherRootTest, LinksStayWithin) {
  EXPECT_FALSE(others("/"));
  EXPECT_FALSE(others("/run/./deep/../deep/"));
  EXPECT_FALSE(others("/var_run/deep")) << "a link of root's leads from root's to root's";
  EXPECT_FALSE(others("/run/deep/up"));
  EXPECT_TRUE(others("/home/alice"));
  EXPECT_TRUE(others("/home/alice/run")) << "root's, but it can be moved away";
  EXPECT_TRUE(others("/home/alice/link")) << "the link can be replaced";
  EXPECT_TRUE(others("/run/alices"));
  ASSERT_EQ(chmod((top_ / "run").c_str(), 0775), 0);
  EXPECT_TRUE(others("/run/deep")) << "a group may write to the directory above";
}

}  // namespace
}  // namespace wrapd::plan
