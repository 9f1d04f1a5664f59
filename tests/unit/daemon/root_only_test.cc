// SPDX-License-Identifier: Apache-2.0
#include "daemon/root_only.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/unit/daemon/temporary_directory.h"

namespace wrapd::daemon {
namespace {

namespace fs = std::filesystem;

// The temporary directory plays the root directory of a caller.
class RootOnly : public ::testing::Test {
 protected:
  void SetUp() override {
    WRAPD_NEEDS_ROOT();
    ASSERT_EQ(::chmod(root_.path().c_str(), 0755), 0);
    fs::create_directories(root_.path() + "/run/deep");
    fs::create_directories(root_.path() + "/home/alice/run");
    ASSERT_EQ(::chown((root_.path() + "/home/alice").c_str(), kStranger, 0), 0);
    fs::create_directories(root_.path() + "/tmp");
    ASSERT_EQ(::chmod((root_.path() + "/tmp").c_str(), 01777), 0);
    link("/run", "/var_run");
    link("../../../run/deep", "/run/deep/up");
    link("/home/alice", "/run/alices");
    link("loop", "/run/loop");
    link("/run", "/home/alice/link");
  }
  void link(const std::string& target, const std::string& name) { fs::create_symlink(target, root_.path() + name); }
  [[nodiscard]] bool others(std::string_view path) const { return others_may_create(root_.fd(), path); }
  TemporaryDirectory root_;
};

TEST_F(RootOnly, DirectoriesOfRoot) {
  EXPECT_FALSE(others("/"));
  EXPECT_FALSE(others("/run"));
  EXPECT_FALSE(others("/run/deep/"));
  EXPECT_FALSE(others("/run/./deep/../deep"));
  EXPECT_TRUE(others("/run/not/yet/there")) << "root may make it for somebody";
  EXPECT_FALSE(others("/var_run/deep")) << "a link of root's leads from root's to root's";
  EXPECT_FALSE(others("/run/deep/up")) << "the links stay within this root";
}

TEST_F(RootOnly, DirectoriesOfOthers) {
  EXPECT_TRUE(others("/home/alice"));
  EXPECT_TRUE(others("/home/alice/run")) << "root's, but it can be moved away";
  EXPECT_TRUE(others("/home/alice/link")) << "the link can be replaced";
  EXPECT_TRUE(others("/run/alices"));
  EXPECT_TRUE(others("/tmp"));
  EXPECT_TRUE(others("/tmp/not/yet"));
}

TEST_F(RootOnly, WhatCannotBeTold) {
  EXPECT_TRUE(others("/run/loop"));
  EXPECT_TRUE(others("relative"));
  EXPECT_TRUE(others(""));
  EXPECT_TRUE(others("/run/" + std::string(5000, 'x')));
  ASSERT_EQ(::chmod((root_.path() + "/run").c_str(), 0775), 0);
  EXPECT_TRUE(others("/run/deep")) << "a group may write to the directory above";
}

}  // namespace
}  // namespace wrapd::daemon
