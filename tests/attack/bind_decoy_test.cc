// SPDX-License-Identifier: Apache-2.0

// After a bind on behalf it is not enough that a socket is where it should be: it must be the one that was bound.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "arena.h"
#include "programs.h"
#include "supervisor/path_walk.h"
#include "supervisor/task.h"

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

// Binds as we do, and is content if there is a socket in the judged directory afterwards.
class ContentWithASocket final : public supervisor::Handler {
 public:
  explicit ContentWithASocket(const supervisor::SessionObjects& session)
      : session_(session), walk_(session.kernel, session.root) {}
  supervisor::Outcome handle(const supervisor::Caller& call, supervisor::CallContext&) override {
    auto& kernel = session_.kernel;
    if (call.number == SYS_listen) return listen(call);
    auto taken = call.take_socket_call();
    if (!taken) return {.answer = supervisor::Answer::errno_of(EFAULT), .record = std::nullopt};
    std::string path(supervisor::decode_unix_name(taken->address).text);
    size_t slash = path.find_last_of('/');
    auto parent = walk_.locate(call, -1, path.substr(0, slash), supervisor::LastElement::follow);
    if (!parent)
      return {.answer = supervisor::Answer::errno_of(supervisor::seen_by_target(parent.error())),
              .record = std::nullopt};
    auto real = kernel.real_path(parent->fd.get());
    std::string name = path.substr(slash + 1);
    if (!real || !session_.layers.judge(policy::with_path(policy::Operation::bind, *real + "/" + name)).permits()) {
      return {.answer = supervisor::Answer::errno_of(EACCES), .record = std::nullopt};
    }
    int rc = call.act().bind_path({.socket = taken->socket.get(),
                                   .address = taken->address.get(),
                                   .length = taken->address.length,
                                   .directory = -1,
                                   .parent = parent->fd.get(),
                                   .umask = 022});
    struct stat st {};
    bool in_place = kernel.stat_at(parent->fd.get(), name.c_str(), st) == 0 && S_ISSOCK(st.st_mode);
    if (rc == 0 && in_place) {
      std::lock_guard lock(lock_);
      in_place_.insert(cookie_of(taken->socket));
    }
    return {.answer = rc < 0 || in_place ? supervisor::Answer::of(rc) : supervisor::Answer::errno_of(EACCES),
            .record = std::nullopt};
  }

 private:
  supervisor::Outcome listen(const supervisor::Caller& call) {
    auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
    std::lock_guard lock(lock_);
    bool permitted = socket && in_place_.contains(cookie_of(*socket));
    return {.answer = permitted ? supervisor::Answer::of(call.act().listen(socket->get(), 1))
                                : supervisor::Answer::errno_of(EACCES),
            .record = std::nullopt};
  }
  [[nodiscard]] uint64_t cookie_of(const UniqueFd& socket) const {
    uint64_t cookie = 0;
    return session_.kernel.socket_option(socket.get(), SO_COOKIE, &cookie, sizeof cookie) < 0 ? 0 : cookie;
  }
  std::mutex lock_;
  std::set<uint64_t> in_place_;
  supervisor::SessionObjects session_;
  supervisor::PathWalk walk_;
};

TEST(Bind, DecoyBeatsALookForASocket) {
  Place place;
  make_directory(place / "serve");
  make_directory(place / "serve/private");
  make_link("serve", place / "way");
  make_link("serve/private", place / "other");
  int won = 0;
  for (int round = 0; round < 20 && won == 0; ++round) {
    auto result = fight(
        {{{place / "serve/*"}, Verdict::allow}},
        [](const supervisor::SessionObjects& session, kernel::Kernel&) {
          return std::make_unique<ContentWithASocket>(session);
        },
        [&] { return attack_bind_with_decoys(place.path(), 20'000); });
    ASSERT_TRUE(WIFEXITED(result.exit_status));
    won = WEXITSTATUS(result.exit_status);
  }
  EXPECT_EQ(won, 1) << "the harness does not bite";
}

TEST(Bind, DecoyLosesAgainstUs) {
  Place place;
  make_directory(place / "serve");
  make_directory(place / "serve/private");
  make_link("serve", place / "way");
  make_link("serve/private", place / "other");
  auto result = fight({{{place / "serve/*"}, Verdict::allow}}, ours(),
                      [&] { return attack_bind_with_decoys(place.path(), tries(20'000)); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 0);
  EXPECT_GT(result.decided, 0U);
}

}  // namespace
}  // namespace wrapd::attack
