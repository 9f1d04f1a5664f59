// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

namespace fs = std::filesystem;
const std::string kName = "notify.sock";

// A socket as the service makes it, at the point where something goes wrong.
class HandoffSocket : public ::testing::Test {
 protected:
  void SetUp() override {
    WRAPD_NEEDS_ROOT();
    auto bound = bind_socket(directory_.fd(), kName);
    ASSERT_TRUE(bound) << bound.error().message;
    socket_ = std::move(*bound);
    auto checked = check_socket(directory_.fd(), kName, 0, 0600);
    ASSERT_TRUE(checked) << checked.error().message;
    made_ = *checked;
  }
  [[nodiscard]] std::string path(const std::string& name = kName) const { return directory_.path() + "/" + name; }
  static struct stat status(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st;
  }

  test::TemporaryDirectory directory_;
  UniqueFd socket_;
  struct stat made_ {};
};

TEST_F(HandoffSocket, GoesToItsOwner) {
  ASSERT_TRUE(give_socket(directory_.fd(), kName, made_, kStranger));
  EXPECT_EQ(status(path()).st_uid, kStranger);
  EXPECT_EQ(status(path()).st_mode & 07777, 0600U);
}

TEST_F(HandoffSocket, IsNotBoundOverSomethingElse) {
  EXPECT_FALSE(bind_socket(directory_.fd(), kName));
}

TEST_F(HandoffSocket, WithAnotherModeIsRefused) {
  ASSERT_EQ(::chmod(path().c_str(), 0660), 0);
  EXPECT_FALSE(check_socket(directory_.fd(), kName, 0, 0600));
  EXPECT_FALSE(give_socket(directory_.fd(), kName, made_, kStranger));
}

TEST_F(HandoffSocket, WithAnotherOwnerIsRefused) {
  ASSERT_EQ(::chown(path().c_str(), kStranger, 0), 0);
  EXPECT_FALSE(check_socket(directory_.fd(), kName, 0, 0600));
}

TEST_F(HandoffSocket, WithASecondLinkIsRefused) {
  ASSERT_EQ(::link(path().c_str(), path("second").c_str()), 0);
  EXPECT_FALSE(check_socket(directory_.fd(), kName, 0, 0600));
  EXPECT_FALSE(give_socket(directory_.fd(), kName, made_, kStranger));
}

TEST_F(HandoffSocket, ReplacedByAnotherSocketIsRefused) {
  auto other = bind_socket(directory_.fd(), "other");
  ASSERT_TRUE(other);
  fs::rename(path("other"), path());
  EXPECT_FALSE(give_socket(directory_.fd(), kName, made_, kStranger));
}

TEST_F(HandoffSocket, ReplacedByALinkLeavesItsTargetAlone) {
  auto victim = bind_socket(directory_.fd(), "victim");
  ASSERT_TRUE(victim);
  fs::remove(path());
  fs::create_symlink(path("victim"), path());
  EXPECT_FALSE(check_socket(directory_.fd(), kName, 0, 0600));
  EXPECT_FALSE(give_socket(directory_.fd(), kName, made_, kStranger));
  EXPECT_FALSE(open_socket_to_all(directory_.fd(), kName, made_));
  EXPECT_EQ(status(path("victim")).st_uid, 0U);
  EXPECT_EQ(status(path("victim")).st_mode & 07777, 0600U);
}

TEST_F(HandoffSocket, ReplacedByAFileIsRefused) {
  fs::remove(path());
  UniqueFd file(::openat(directory_.fd(), kName.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_TRUE(file);
  EXPECT_FALSE(check_socket(directory_.fd(), kName, 0, 0600));
}

TEST_F(HandoffSocket, OpensToAllOnlyTheSameInode) {
  ASSERT_TRUE(open_socket_to_all(directory_.fd(), kName, made_));
  EXPECT_EQ(status(path()).st_mode & 07777, 0666U);
  auto other = bind_socket(directory_.fd(), "other");
  ASSERT_TRUE(other);
  fs::rename(path("other"), path());
  EXPECT_FALSE(open_socket_to_all(directory_.fd(), kName, made_));
  EXPECT_EQ(status(path()).st_mode & 07777, 0600U);
}

TEST(RuntimeDirectory, IsMadeWithItsModesWhateverTheUmask) {
  WRAPD_NEEDS_ROOT();
  test::TemporaryDirectory top;
  mode_t old = ::umask(0777);
  auto runtime = RuntimeDirectory::open(top.path() + "/run");
  ::umask(old);
  ASSERT_TRUE(runtime) << runtime.error().message;
  struct stat st {};
  ASSERT_EQ(::fstat(runtime->sessions.get(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0711U);
}

TEST(RuntimeDirectory, OfSomebodyElseIsRefused) {
  WRAPD_NEEDS_ROOT();
  test::TemporaryDirectory top;
  fs::create_directories(top.path() + "/run/sessions");
  ASSERT_EQ(::chown((top.path() + "/run/sessions").c_str(), kStranger, 0), 0);
  EXPECT_FALSE(RuntimeDirectory::open(top.path() + "/run"));
  fs::remove(top.path() + "/run/sessions");
  fs::create_symlink("/tmp", top.path() + "/run/sessions");
  EXPECT_FALSE(RuntimeDirectory::open(top.path() + "/run"));
}

TEST(SessionDirectory, RemovesWhatItMade) {
  WRAPD_NEEDS_ROOT();
  test::TemporaryDirectory top;
  auto runtime = RuntimeDirectory::open(top.path() + "/run");
  ASSERT_TRUE(runtime);
  {
    auto session = SessionDirectory::create(*runtime, kStranger, false);
    ASSERT_TRUE(session) << session.error().message;
    EXPECT_EQ(session->id().size(), 32U);
    EXPECT_TRUE(fs::is_socket(session->path() + "/signal.sock"));
    auto moved = std::move(*session);
    EXPECT_FALSE(fs::is_empty(runtime->sessions_path));
  }
  EXPECT_TRUE(fs::is_empty(runtime->sessions_path));
  {
    auto session = SessionDirectory::create(*runtime, kStranger, false);
    ASSERT_TRUE(session);
    session->leave();
  }
  EXPECT_FALSE(fs::is_empty(runtime->sessions_path));
  auto in_use = sweep_sessions(*runtime, std::chrono::seconds(0), [](std::string_view) { return true; });
  ASSERT_TRUE(in_use);
  EXPECT_FALSE(fs::is_empty(runtime->sessions_path));
  auto nobody = [](std::string_view) { return false; };
  EXPECT_EQ(sweep_sessions(*runtime, std::chrono::hours(1), nobody), 1U);
  EXPECT_EQ(sweep_sessions(*runtime, std::chrono::seconds(0), nobody), 0U);
  EXPECT_TRUE(fs::is_empty(runtime->sessions_path));
}

}  // namespace
}  // namespace wrapd::daemon
