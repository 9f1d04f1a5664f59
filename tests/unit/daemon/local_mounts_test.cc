// SPDX-License-Identifier: Apache-2.0
#include "plan/local_mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "plan/others_may_create.h"
#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/hung_file_system.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

using plan::LocalMounts;

// A server may say of its files what it likes, also that they are root's alone. With no answer at all, a walk that
// asked would never end.
TEST(LocalMounts, AreNotWhatAProgramServes) {
  WRAPD_NEEDS_ROOT();
  if (::access("/dev/fuse", F_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
  test::TemporaryDirectory root;
  ASSERT_EQ(::chmod(root.path().c_str(), 0755), 0);
  std::filesystem::create_directories(root.path() + "/run/served");
  std::filesystem::create_directories(root.path() + "/run/deep");
  auto others = [&](std::string_view path) {
    auto mounts = LocalMounts::of(::getpid());
    EXPECT_TRUE(mounts) << mounts.error().message;
    // Opened each time: a mount namespace of our own has other mounts.
    UniqueFd here(::open(root.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return plan::others_may_create(here.get(), path, &*mounts);
  };
  EXPECT_FALSE(others("/run/served"));
  HungFileSystem served(root.path() + "/run/served");
  ASSERT_TRUE(served.mounted());
  EXPECT_TRUE(others("/run/served"));
  EXPECT_TRUE(others("/run/served/below"));
  EXPECT_FALSE(others("/run/deep"));
}

TEST(LocalMounts, AreKnownByTheirType) {
  auto mounts = LocalMounts::parse(
      "28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "30 28 0:25 / /run rw - tmpfs tmpfs rw\n"
      "41 28 0:50 / /a\\040-\\040ext4 rw shared:9 - fuse.ext4 ext4 rw\n"
      "42 28 0:51 / /net rw - nfs4 server:/ rw\n"
      "x 28 0:51 / /x rw - ext4 /dev/sdb rw\n"
      "43 28 0:51 / /x rw ext4\n"
      "7");
  EXPECT_TRUE(mounts.contains(28));
  EXPECT_TRUE(mounts.contains(30));
  for (uint64_t id : {41U, 42U, 43U, 7U, 0U}) EXPECT_FALSE(mounts.contains(id)) << id;
  EXPECT_FALSE(LocalMounts().contains(28));
}

}  // namespace
}  // namespace wrapd::daemon
