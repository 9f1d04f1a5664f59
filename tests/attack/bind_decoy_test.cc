// SPDX-License-Identifier: Apache-2.0

// After a bind on behalf it is not enough that a socket is where it should be: it must be the one that was bound.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "arena.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

// The judged directory alone may get the socket, but what lies beneath it may as far as Landlock is concerned. A way
// is turned to a directory beneath while a decoy waits where the socket should have been.
int attack_bind_with_decoys(const std::string& place, uint64_t count) {
  std::atomic<bool> stop{false};
  std::string link = place + "/way", other = place + "/other";
  std::string decoy = place + "/serve/s", prize = place + "/serve/private/s";
  std::thread flipper([&] {
    while (!stop) ::syscall(SYS_renameat2, AT_FDCWD, other.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
  });
  std::thread decoys([&] {
    while (!stop) {
      ::mknod(decoy.c_str(), S_IFSOCK | 0600, 0);
      ::unlink(decoy.c_str());
    }
  });
  Address name = unix_address(link + "/s");
  int won = 0;
  for (uint64_t i = 0; i < count && won == 0; ++i) {
    UniqueFd fd(unix_socket());
    (void)::bind(fd.get(), name.get(), name.length);
    struct stat st {};
    if (::stat(prize.c_str(), &st) == 0) {
      // It is there, with a name that was not judged: does it serve?
      (void)::listen(fd.get(), 1);
      won = listens(fd.get()) ? 1 : 0;
      ::unlink(prize.c_str());
    }
  }
  stop = true;
  flipper.join();
  decoys.join();
  return won;
}

TEST(Bind, DecoyInTheJudgedDirectory) {
  Place place;
  make_directory(place / "serve");
  make_directory(place / "serve/private");
  make_link("serve", place / "way");
  make_link("serve/private", place / "other");
  Story story;
  auto result = fight({{{place / "serve/*"}, Verdict::allow}}, ours(),
                      [&] { return attack_bind_with_decoys(place.path(), tries(20'000)); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 0);
  EXPECT_GT(result.decided, 0U);
}

}  // namespace
}  // namespace wrapd::attack
