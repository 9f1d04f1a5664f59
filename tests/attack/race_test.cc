// SPDX-License-Identifier: Apache-2.0

// Races between what is judged and what is done. Each attack is first run against a supervisor that looks and then lets
// the kernel go on (or goes by names twice), and must win: a race that cannot be won proves nothing. Then it is run
// against ours.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "naive.h"
#include "supervisor/task.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;
using supervisor::Answer;
using supervisor::Caller;
using supervisor::Outcome;
using supervisor::Record;

// Copies the address once, but resolves the name for its verdict and lets the kernel resolve it again.
class JudgeNameActOnName final : public supervisor::Handler {
 public:
  explicit JudgeNameActOnName(const supervisor::SessionObjects& session)
      : session_(session), walk_(session.kernel, session.root) {}
  Outcome handle(const Caller& call, supervisor::CallContext&) override {
    auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
    auto address = call.copy_address(call.arguments[1], call.arguments[2]);
    if (!socket || !address) return {.answer = Answer::errno_of(EFAULT), .record = std::nullopt};
    std::string path(supervisor::decode_unix_name(*address).text);
    auto located = walk_.locate(call, -1, path, supervisor::LastElement::follow);
    if (!located)
      return {.answer = Answer::errno_of(supervisor::seen_by_target(located.error())), .record = std::nullopt};
    auto real = session_.kernel.real_path(located->fd.get());
    Record record{.operation = "naive"};
    record.done = real && session_.layers.judge(policy::with_path(policy::Operation::connect, *real)).permits();
    if (!record.done) return {.answer = Answer::errno_of(EACCES), .record = record};
    return {.answer = Answer::of(call.act().connect(socket->get(), address->get(), address->length)), .record = record};
  }

 private:
  supervisor::SessionObjects session_;
  supervisor::PathWalk walk_;
};

sockaddr_un address_of(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  return address;
}

// Connects over and over through one address that another thread rewrites all the time. `count` tries.
int attack_by_rewriting(const std::string& allowed, const std::string& denied, uint64_t count) {
  static sockaddr_un shared;
  const sockaddr_un good = address_of(allowed), bad = address_of(denied);
  shared = good;
  std::atomic<bool> stop{false};
  std::thread flipper([&] {
    while (!stop) {
      std::memcpy(shared.sun_path, bad.sun_path, sizeof bad.sun_path);
      std::memcpy(shared.sun_path, good.sun_path, sizeof good.sun_path);
    }
  });
  for (uint64_t i = 0; i < count; ++i) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 1;
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&shared), sizeof shared);
    ::close(fd);
  }
  stop = true;
  flipper.join();
  return 0;
}

// Names of the same length, so that a torn copy of one is neither.
struct Duel {
  Place place;
  std::string allowed = place / "allowed.sock";
  std::string denied = place / "deniedx.sock";
  Server good{allowed};
  Server bad{denied};
  std::vector<Rule> rules{{{denied}, Verdict::deny}, {{allowed}, Verdict::allow}};
};

TEST(Race, RewritingTheAddressBeatsCheckAndContinue) {
  // On an idle machine more than half of the tries that pass the check win. On a loaded one the rewriting thread hardly
  // runs, and it takes longer to see some.
  Duel duel;
  for (int round = 0; round < 50 && duel.bad.reached() < 100; ++round) {
    auto result = fight(duel.rules, looks_and_lets_go(looks_at_the_name),
                        [&] { return attack_by_rewriting(duel.allowed, duel.denied, 10'000); });
    EXPECT_EQ(result.exit_status, 0);
    duel.bad.settle();
  }
  EXPECT_GE(duel.bad.reached(), 100U) << "the harness does not bite";
}

TEST(Race, RewritingTheAddressLosesAgainstUs) {
  Duel duel;
  const uint64_t count = tries(1'000'000);
  auto result = fight(duel.rules, ours(), [&] { return attack_by_rewriting(duel.allowed, duel.denied, count); });
  duel.good.settle();
  duel.bad.settle();
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(duel.bad.reached(), 0U);
  // Both kinds of address were seen, or nothing raced.
  EXPECT_GT(result.denied, count / 100);
  EXPECT_GT(duel.good.reached(), count / 100);
}

// A symbolic link that points to the allowed and to the denied socket in turn.
int attack_by_swapping_links(const std::string& directory, const std::string& link, uint64_t count) {
  std::atomic<bool> stop{false};
  std::string to_good = directory + "/to-good", to_bad = directory + "/to-bad";
  std::thread flipper([&] {
    while (!stop) {
      // renameat2(RENAME_EXCHANGE) swaps in one step: both names always exist.
      ::syscall(SYS_renameat2, AT_FDCWD, to_good.c_str(), AT_FDCWD, link.c_str(), 2);
    }
  });
  const sockaddr_un address = address_of(link);
  for (uint64_t i = 0; i < count; ++i) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 1;
    (void)::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::close(fd);
  }
  stop = true;
  flipper.join();
  return 0;
}

void make_links(const Duel& duel) {
  ASSERT_EQ(::symlink(duel.denied.c_str(), (duel.place / "to-good").c_str()), 0);
  ASSERT_EQ(::symlink(duel.allowed.c_str(), (duel.place / "link").c_str()), 0);
  ASSERT_EQ(::lchown((duel.place / "to-good").c_str(), kAttacker, kAttacker), 0);
  ASSERT_EQ(::lchown((duel.place / "link").c_str(), kAttacker, kAttacker), 0);
}

TEST(Race, SwappingALinkBeatsNamesThatAreResolvedTwice) {
  Duel duel;
  make_links(duel);
  for (int round = 0; round < 50 && duel.bad.reached() <= 10; ++round) {
    auto result = fight(
        duel.rules,
        [](const supervisor::SessionObjects& session, kernel::Kernel&) {
          return std::make_unique<JudgeNameActOnName>(session);
        },
        [&] { return attack_by_swapping_links(duel.place.path(), duel.place / "link", 10'000); });
    EXPECT_EQ(result.exit_status, 0);
    duel.bad.settle();
  }
  EXPECT_GT(duel.bad.reached(), 10U) << "the harness does not bite";
}

TEST(Race, SwappingALinkLosesAgainstUs) {
  Duel duel;
  make_links(duel);
  const uint64_t count = tries(200'000);
  auto result = fight(duel.rules, ours(),
                      [&] { return attack_by_swapping_links(duel.place.path(), duel.place / "link", count); });
  duel.good.settle();
  duel.bad.settle();
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(duel.bad.reached(), 0U);
  EXPECT_GT(result.denied, 0U);
  EXPECT_GT(duel.good.reached(), 0U);
}

// listen(2) on a number that stands for one bound socket and for another in turn. Exits with 1 if the denied one ended
// up listening.
int attack_by_swapping_descriptors(const std::string& allowed, const std::string& denied, uint64_t rounds) {
  uint64_t won = 0;
  for (uint64_t i = 0; i < rounds && won == 0; ++i) {
    int good = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), bad = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::string good_name = allowed + std::to_string(i), bad_name = denied + std::to_string(i);
    const sockaddr_un good_address = address_of(good_name), bad_address = address_of(bad_name);
    if (::bind(good, reinterpret_cast<const sockaddr*>(&good_address), sizeof good_address) < 0) return 90;
    if (::bind(bad, reinterpret_cast<const sockaddr*>(&bad_address), sizeof bad_address) < 0) return 91;
    int number = ::dup(good);
    std::atomic<bool> stop{false}, go{false};
    std::thread flipper([&] {
      go = true;
      while (!stop) {
        ::dup2(bad, number);
        ::dup2(good, number);
      }
    });
    while (!go) {
    }
    for (int j = 0; j < 20; ++j) (void)::listen(number, 1);
    stop = true;
    flipper.join();
    int listening = 0;
    socklen_t length = sizeof listening;
    ::getsockopt(bad, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    won += listening != 0 ? 1 : 0;
    ::close(number);
    ::close(good);
    ::close(bad);
    ::unlink(good_name.c_str());
    ::unlink(bad_name.c_str());
  }
  return won > 0 ? 1 : 0;
}

// All may be bound; only the names with "allowed" may be listened on.
std::vector<Rule> listen_rules(const Place& place) {
  return {{{place / "allowed*"}, Verdict::allow}, {{place / "deniedx*"}, Verdict::deny}};
}

class BindAnything final : public supervisor::Handler {
 public:
  BindAnything(const supervisor::SessionObjects&, std::unique_ptr<supervisor::Handler> rest) : rest_(std::move(rest)) {}
  Outcome handle(const Caller& call, supervisor::CallContext& context) override {
    // Setting the scene, not the fight: runs as the attacker wrote it.
    if (call.number == SYS_bind) return {.answer = {.run_natively = true}, .record = std::nullopt};
    return rest_->handle(call, context);
  }

 private:
  std::unique_ptr<supervisor::Handler> rest_;
};

MakeHandler with_free_bind(const MakeHandler& make) {
  return [make](const supervisor::SessionObjects& session, kernel::Kernel& kernel) {
    return std::make_unique<BindAnything>(session, make(session, kernel));
  };
}

TEST(Race, SwappingADescriptorBeatsListenByNumber) {
  Place place;
  auto result = fight(listen_rules(place), with_free_bind(looks_and_lets_go(looks_at_the_name)),
                      [&] { return attack_by_swapping_descriptors(place / "allowed", place / "deniedx", 500); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 1) << "the harness does not bite";
}

TEST(Race, SwappingADescriptorLosesAgainstUs) {
  Place place;
  const uint64_t rounds = tries(150);
  auto result = fight(listen_rules(place), with_free_bind(ours()),
                      [&] { return attack_by_swapping_descriptors(place / "allowed", place / "deniedx", rounds); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 0);
  EXPECT_GT(result.denied, 0U);
  EXPECT_GT(result.decided, 0U);
}

// bind(2) through a directory name that leads to an allowed and to a denied directory in turn. Exits with 1 if a socket
// came into being in the denied one.
int attack_by_swapping_directories(const std::string& place, uint64_t count) {
  std::atomic<bool> stop{false};
  std::string other = place + "/other", link = place + "/way";
  std::thread flipper([&] {
    while (!stop) ::syscall(SYS_renameat2, AT_FDCWD, other.c_str(), AT_FDCWD, link.c_str(), 2);
  });
  int won = 0;
  const sockaddr_un address = address_of(link + "/s");
  for (uint64_t i = 0; i < count && won == 0; ++i) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    struct stat st {};
    won = ::stat((place + "/denied/s").c_str(), &st) == 0 ? 1 : 0;
    ::unlink((place + "/allowed/s").c_str());
    ::close(fd);
  }
  stop = true;
  flipper.join();
  return won;
}

void make_directories(const Place& place) {
  for (const char* name : {"allowed", "denied"}) {
    ASSERT_EQ(::mkdir((place / name).c_str(), 0755), 0);
    ASSERT_EQ(::chown((place / name).c_str(), kAttacker, kAttacker), 0);
  }
  ASSERT_EQ(::symlink((place / "allowed").c_str(), (place / "way").c_str()), 0);
  ASSERT_EQ(::symlink((place / "denied").c_str(), (place / "other").c_str()), 0);
  for (const char* name : {"way", "other"}) ASSERT_EQ(::lchown((place / name).c_str(), kAttacker, kAttacker), 0);
}

// Judges where the name leads, then lets the kernel bind it.
bool looks_where_the_name_leads(const supervisor::SessionObjects& session, const Caller& call) {
  auto address = call.copy_address(call.arguments[1], call.arguments[2]);
  if (!address) return false;
  std::string path(supervisor::decode_unix_name(*address).text);
  supervisor::PathWalk walk(session.kernel, session.root);
  auto parent = walk.locate(call, -1, path.substr(0, path.find_last_of('/')), supervisor::LastElement::follow);
  if (!parent) return false;
  auto real = session.kernel.real_path(parent->fd.get());
  return real && session.layers.judge(policy::with_path(policy::Operation::bind, *real + "/s")).permits();
}

TEST(Race, SwappingADirectoryBeatsBindAfterALook) {
  Place place;
  make_directories(place);
  auto result = fight({{{place / "allowed/*"}, Verdict::allow}}, looks_and_lets_go(looks_where_the_name_leads),
                      [&] { return attack_by_swapping_directories(place.path(), 50'000); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 1) << "the harness does not bite";
}

TEST(Race, SwappingADirectoryLosesAgainstUs) {
  Place place;
  make_directories(place);
  const uint64_t count = tries(30'000);
  auto result = fight({{{place / "allowed/*"}, Verdict::allow}}, ours(),
                      [&] { return attack_by_swapping_directories(place.path(), count); });
  ASSERT_TRUE(WIFEXITED(result.exit_status));
  EXPECT_EQ(WEXITSTATUS(result.exit_status), 0);
  EXPECT_GT(result.decided, 0U);
  EXPECT_GT(result.denied, 0U);
}

}  // namespace
}  // namespace wrapd::attack
