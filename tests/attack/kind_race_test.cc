// SPDX-License-Identifier: Apache-2.0

// Races over what kind of thing it is: a path that becomes an abstract name, an internet socket that becomes a unix
// socket, a file that becomes a socket.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

#include "arena.h"
#include "naive.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

using policy::Operation;
using policy::Verdict;
using supervisor::Caller;
using supervisor::SessionObjects;

// Writes two values to one byte in turn for as long as it lives.
class Flipper {
 public:
  Flipper(char& byte, char one, char other)
      : thread_([this, &byte, one, other] {
          std::atomic_ref at(byte);
          while (!stop_) {
            at.store(one);
            at.store(other);
          }
        }) {}
  ~Flipper() {
    stop_ = true;
    thread_.join();
  }
  Flipper(const Flipper&) = delete;
  Flipper& operator=(const Flipper&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// The attack exits with 1 where it has won; `undo` then makes things as they were.
void expect_won_and_lost(const std::vector<Rule>& rules, const Look& look, const std::function<int(uint64_t)>& attack,
                         const std::function<void()>& undo, uint64_t count,
                         plan::TrapSet traps = plan::kUnixSocketTraps) {
  int won = 0;
  for (int round = 0; round < 50 && won == 0; ++round) {
    auto result = fight(
        rules, looks_and_lets_go(look), [&] { return attack(20'000); }, traps);
    ASSERT_TRUE(WIFEXITED(result.exit_status));
    won = WEXITSTATUS(result.exit_status);
  }
  EXPECT_EQ(won, 1) << "the harness does not bite";
  undo();
  auto result = fight(
      rules, ours(), [&] { return attack(tries(count)); }, traps);
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 0);
  // Both sides of it were seen, or nothing raced.
  EXPECT_GT(result.denied, 0U);
}

// A name that is a path when it is judged, and abstract when it is bound.
TEST(KindRace, PathThatBecomesAbstract) {
  Place place;
  auto look = [](const SessionObjects& session, const Caller& call) {
    auto address = call.copy_address(call.arguments[1], call.arguments[2]);
    if (!address) return false;
    auto name = supervisor::decode_unix_name(*address);
    return name.kind == supervisor::UnixName::Kind::path &&
           session.layers.judge(policy::with_path(Operation::bind, std::string(name.text))).permits();
  };
  auto attack = [&](uint64_t count) {
    std::string path = place / "s";
    Address shared = unix_address(path);
    char* head = reinterpret_cast<char*>(&shared.storage) + offsetof(sockaddr_un, sun_path);
    Flipper flipper(*head, '\0', '/');
    for (uint64_t i = 0; i < count; ++i) {
      UniqueFd fd(unix_socket());
      if (::bind(fd.get(), shared.get(), shared.length) < 0) continue;
      if (name_of(fd.get()).find("\\0tmp/") != std::string::npos) return 1;
      if (::unlink(path.c_str()) < 0) return 2;
    }
    return 0;
  };
  expect_won_and_lost(
      {{{place / "*"}, Verdict::allow}}, look, attack, [] {}, 20'000);
}

// A number that is an internet socket's when it is looked at, and a unix socket's when the call is made.
TEST(KindRace, InternetSocketThatBecomesUnix) {
  Place place;
  Server bad(place / "denied");
  auto look = [](const SessionObjects& session, const Caller& call) {
    auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
    int domain = -1;
    return socket && session.kernel.socket_option(socket->get(), SO_DOMAIN, &domain, sizeof domain) == 0 &&
           domain != AF_UNIX;
  };
  auto attack = [&](uint64_t count) {
    const Address address = unix_address(place / "denied");
    UniqueFd inet(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), local(unix_socket());
    const int number = ::fcntl(inet.get(), F_DUPFD_CLOEXEC, 300);
    std::atomic<bool> stop{false};
    std::thread flipper([&] {
      while (!stop) {
        ::dup2(local.get(), number);
        ::dup2(inet.get(), number);
      }
    });
    bool won = false;
    for (uint64_t i = 0; i < count && !won; ++i) won = ::connect(number, address.get(), address.length) == 0;
    stop = true;
    flipper.join();
    return won ? 1 : 0;
  };
  expect_won_and_lost(
      {{{place / "denied"}, Verdict::deny}, {{"/**"}, Verdict::allow}}, look, attack, [] {}, 50'000);
  bad.settle();
  EXPECT_EQ(bad.reached(), 1U);
}

// A name that is a file's when it is judged, and the denied socket's when it is moved.
TEST(KindRace, NameOfAFileThatBecomesASockets) {
  Place place;
  make_directory(place / "kept");
  make_directory(place / "open");
  Server bad(place / "kept/s");
  auto look = [](const SessionObjects& session, const Caller& call) {
    auto path = call.copy_path(call.arguments[1]);
    if (!path) return false;
    UniqueFd object(session.kernel.open_at(session.root, path->c_str(), O_PATH | O_NOFOLLOW, 0));
    struct stat st {};
    return object && session.kernel.stat(object.get(), st) == 0 && !S_ISSOCK(st.st_mode);
  };
  auto attack = [&](uint64_t count) {
    std::string file = place / "kept/f", from = file, to = place / "open/x";
    Flipper flipper(from.back(), 's', 'f');
    for (uint64_t i = 0; i < count; ++i) {
      UniqueFd(::open(file.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0600)).reset();
      if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) < 0) continue;
      struct stat st {};
      if (::lstat(to.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) return 1;
    }
    return 0;
  };
  auto undo = [&] { EXPECT_EQ(::rename((place / "open/x").c_str(), (place / "kept/s").c_str()), 0); };
  expect_won_and_lost({{{place / "open/**"}, Verdict::allow}}, look, attack, undo, 20'000, kAllTraps);
}

}  // namespace
}  // namespace wrapd::attack
