// SPDX-License-Identifier: Apache-2.0

// In root's session a program gives up what root is: ids, groups, capabilities, for good or for a while, in one thread
// or in all. What is then done on its behalf must be done as what it is now. Each variant is told three times:
// natively, under a supervisor that takes everybody for root, and under ours.

#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>
#include <map>
#include <thread>

#include "arena.h"
#include "kernel/credentials.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

constexpr uid_t kDropped = 64019;
constexpr gid_t kGroup = 64020;
constexpr auto kUnchanged = static_cast<uid_t>(-1);

void put(const std::string& path, mode_t mode, uid_t owner = 0, gid_t group = 0) {
  UniqueFd file(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_TRUE(file) << path;
  ASSERT_EQ(::fchmod(file.get(), mode), 0);
  ASSERT_EQ(::fchown(file.get(), owner, group), 0);
}

// Servers whose peers are looked at.
class RootsServers {
 public:
  explicit RootsServers(const Place& place) {
    for (auto [name, mode, group] : {std::tuple{"pub/rootonly", 0600U, 0U}, std::tuple{"closed/any", 0777U, 0U},
                                     std::tuple{"pub/group", 0660U, kGroup}, std::tuple{"pub/all", 0777U, 0U}}) {
      UniqueFd listener(unix_socket(SOCK_STREAM | SOCK_NONBLOCK));
      Address address = unix_address(place / name);
      if (::bind(listener.get(), address.get(), address.length) < 0 || ::chmod((place / name).c_str(), mode) < 0 ||
          ::chown((place / name).c_str(), 0, group) < 0 || ::listen(listener.get(), 64) < 0) {
        std::abort();
      }
      listeners_[name] = std::move(listener);
    }
  }
  // Who connected, in their order: uid, gid, number of groups.
  std::string peers(const std::string& name) {
    std::string text;
    for (;;) {
      UniqueFd peer(::accept4(listeners_[name].get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer) return text;
      ucred credentials{};
      socklen_t size = sizeof credentials;
      gid_t groups[64];
      socklen_t bytes = sizeof groups;
      if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0 ||
          ::getsockopt(peer.get(), SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0) {
        return outcome(-1);
      }
      text += std::to_string(credentials.uid) + "/" + std::to_string(credentials.gid) + "+" +
              std::to_string(bytes / sizeof(gid_t)) + " ";
    }
  }

 private:
  std::map<std::string, UniqueFd> listeners_;
};

constexpr const char* kTags[] = {"1", "2", "3"};

void furnish(const Place& place) {
  make_directory(place / "pub", 0777, 0);
  make_directory(place / "sticky", 01777, 0);
  make_directory(place / "shut", 0755, 0);
  make_directory(place / "closed", 0700, 0);
  make_directory(place / "of-group", 0770, 0);
  ASSERT_EQ(::chown((place / "of-group").c_str(), 0, kGroup), 0);
  put(place / "secret", 0600);
  for (std::string tag : kTags) {
    put(place / ("pub/mine." + tag), 0644, kDropped);
    put(place / ("shut/victim." + tag), 0644);
    put(place / ("sticky/roots." + tag), 0644);
    put(place / ("closed/file." + tag), 0644);
    put(place / ("pub/other." + tag), 0644, kDropped);
  }
}

std::string rename_to(const std::string& from, const std::string& to) {
  return outcome(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
}

std::string bind_port(uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return outcome(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
}

// Everything that root may do and somebody else may not, once.
void try_everything(const Place& where, Story& story, const std::string& tag) {
  auto tell = [&](const std::string& what, const std::string& how) { story.tell(tag + " " + what, how); };
  tell("connect root only", connect_to(where / "pub/rootonly"));
  tell("connect group only", connect_to(where / "pub/group"));
  tell("connect in closed", connect_to(where / "closed/any"));
  tell("connect all", connect_to(where / "pub/all"));
  tell("bind in shut", bind_to(where / ("shut/s." + tag)));
  tell("bind in closed", bind_to(where / ("closed/s." + tag)));
  tell("bind in group's", bind_to(where / ("of-group/s." + tag)));
  tell("bind in pub", bind_to(where / ("pub/s." + tag)));
  struct stat st {};
  tell("owner", ::lstat((where / ("pub/s." + tag)).c_str(), &st) < 0
                    ? outcome(-1)
                    : std::to_string(st.st_uid) + "/" + std::to_string(st.st_gid));
  tell("link secret",
       outcome(::linkat(AT_FDCWD, (where / "secret").c_str(), AT_FDCWD, (where / ("pub/secret." + tag)).c_str(), 0)));
  tell("link mine", outcome(::linkat(AT_FDCWD, (where / ("pub/other." + tag)).c_str(), AT_FDCWD,
                                     (where / ("pub/linked." + tag)).c_str(), 0)));
  tell("rename over root's", rename_to(where / ("pub/mine." + tag), where / ("shut/victim." + tag)));
  tell("rename in sticky", rename_to(where / ("sticky/roots." + tag), where / ("sticky/moved." + tag)));
  tell("rename out of closed", rename_to(where / ("closed/file." + tag), where / ("pub/file." + tag)));
  tell("low port", bind_port(static_cast<uint16_t>(81)));
}

// What is dropped, in the process that runs natively or wrapped, and what is then tried.
using Variant = std::function<void(const Place&, Story&)>;

int run_as_root(const Place& place, Story& story, const Variant& variant) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) < 0) ::_exit(99);
    limit_own_life();
    variant(place, story);
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

struct Told {
  std::string story;
  std::string peers;
};

// Ours has the credentials that the service gives its own, or, standalone, root's.
enum class How { natively, believing, ours, standalone };

Told tell(How how, const Variant& variant) {
  Place place;
  furnish(place);
  RootsServers servers(place);
  Story story;
  if (how == How::natively) {
    EXPECT_EQ(run_as_root(place, story, variant), 0);
  } else {
    const Terms terms{.traps = kAllTraps,
                      .supervisor_stays_root = how != How::ours,
                      .believes_everybody = how == How::believing,
                      .session = 0,
                      .attacker = 0};
    auto result = fight_on(terms, allow_everything(place), ours(), [&] {
      limit_own_life();
      variant(place, story);
      return 0;
    });
    EXPECT_EQ(result.exit_status, 0);
  }
  Told told{.story = story.all(), .peers = {}};
  for (const char* name : {"pub/rootonly", "closed/any", "pub/group", "pub/all"})
    told.peers += std::string(name) + ": " + servers.peers(name) + "\n";
  return told;
}

void expect_as_natively(const Variant& variant) {
  const Told native = tell(How::natively, variant);
  const Told believing = tell(How::believing, variant);
  EXPECT_NE(native.story + native.peers, believing.story + believing.peers) << "the harness does not bite";
  for (How how : {How::ours, How::standalone}) {
    const Told wrapped = tell(how, variant);
    EXPECT_EQ(native.story, wrapped.story);
    EXPECT_EQ(native.peers, wrapped.peers);
  }
}

void require(long rc) {
  if (rc < 0) ::_exit(98);
}

void set_effective(uint64_t capabilities) {
  auto now = kernel::read_capabilities();
  if (!now) ::_exit(97);
  now->effective = capabilities & now->permitted;
  require(kernel::write_capabilities(*now));
}

// --- root as it is

TEST(OtherIds, RootStaysRoot) {
  const Variant variant = [](const Place& where, Story& story) { try_everything(where, story, "1"); };
  const Told native = tell(How::natively, variant);
  EXPECT_NE(native.story.find("1 rename over root's: ok"), std::string::npos) << native.story;
  for (How how : {How::ours, How::standalone}) {
    const Told wrapped = tell(how, variant);
    EXPECT_EQ(native.story, wrapped.story);
    EXPECT_EQ(native.peers, wrapped.peers);
  }
}

// --- for good

TEST(OtherIds, AllIdsDropped) {
  expect_as_natively([](const Place& where, Story& story) {
    require(::setresgid(kDropped, kDropped, kDropped));
    require(::setresuid(kDropped, kDropped, kDropped));
    try_everything(where, story, "1");
  });
}

TEST(OtherIds, IdsDroppedAndAGroupKept) {
  expect_as_natively([](const Place& where, Story& story) {
    gid_t groups[] = {kGroup, 4};
    require(::setgroups(2, groups));
    require(::setresgid(kDropped, kDropped, kDropped));
    require(::setresuid(kDropped, kDropped, kDropped));
    try_everything(where, story, "1");
  });
}

// Permitted capabilities survive here, and come into effect again one by one.
TEST(OtherIds, IdsDroppedAndCapabilitiesKept) {
  expect_as_natively([](const Place& where, Story& story) {
    require(::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    require(::setresgid(kDropped, kDropped, kDropped));
    require(::setresuid(kDropped, kDropped, kDropped));
    try_everything(where, story, "1");
    set_effective(kernel::capability_bit(CAP_NET_BIND_SERVICE) | kernel::capability_bit(CAP_FOWNER));
    try_everything(where, story, "2");
    set_effective(kernel::capability_bit(CAP_DAC_OVERRIDE));
    try_everything(where, story, "3");
  });
}

// --- for a while

TEST(OtherIds, EffectiveIdDroppedAndTakenBack) {
  expect_as_natively([](const Place& where, Story& story) {
    require(::seteuid(kDropped));
    try_everything(where, story, "1");
    require(::seteuid(0));
    try_everything(where, story, "2");
    require(::seteuid(kDropped));
    try_everything(where, story, "3");
  });
}

TEST(OtherIds, EffectiveGroupDropped) {
  expect_as_natively([](const Place& where, Story& story) {
    require(::setegid(kGroup));
    require(::seteuid(kDropped));
    try_everything(where, story, "1");
  });
}

TEST(OtherIds, FileSystemIdsOnly) {
  expect_as_natively([](const Place& where, Story& story) {
    ::setfsgid(kGroup);
    ::setfsuid(kDropped);
    try_everything(where, story, "1");
    ::setfsuid(0);
    ::setfsgid(0);
    try_everything(where, story, "2");
  });
}

// --- root without what makes it root

TEST(OtherIds, CapabilitiesOutOfEffect) {
  expect_as_natively([](const Place& where, Story& story) {
    set_effective(0);
    try_everything(where, story, "1");
    set_effective(kernel::capability_bit(CAP_DAC_READ_SEARCH));
    try_everything(where, story, "2");
    set_effective(~uint64_t{0});
    try_everything(where, story, "3");
  });
}

TEST(OtherIds, CapabilitiesDroppedForGood) {
  expect_as_natively([](const Place& where, Story& story) {
    require(kernel::write_capabilities({}));
    try_everything(where, story, "1");
  });
}

// --- threads

// The system calls, not the C library's, which change all threads.
TEST(OtherIds, ThreadsOfDifferentIds) {
  expect_as_natively([](const Place& where, Story& story) {
    std::atomic<int> turn{0};
    auto wait_for = [&](int mine) {
      while (turn != mine) std::this_thread::yield();
    };
    std::thread other([&] {
      require(::syscall(SYS_setresuid, kDropped, kDropped, kDropped));
      wait_for(0);
      try_everything(where, story, "1");
      turn = 1;
      wait_for(2);
      story.tell("again", connect_to(where / "pub/rootonly"));
      turn = 3;
    });
    wait_for(1);
    try_everything(where, story, "2");
    turn = 2;
    wait_for(3);
    other.join();
  });
}

// A thread that executes a program takes over the number of its process's first thread, which had other ids.
TEST(OtherIds, AThreadThatTakesAnothersNumberOver) {
  expect_as_natively([](const Place& where, Story& story) {
    const std::string code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    const std::string path = where / "pub/all";
    require(::setresgid(kDropped, kDropped, kDropped));
    std::atomic<bool> leader_dropped{false};
    std::thread other([&] {
      while (!leader_dropped) std::this_thread::yield();
      require(::syscall(SYS_setresuid, kOtherUid, kOtherUid, kOtherUid));
      const char* argv[] = {"python3", "-c", code.c_str(), path.c_str(), nullptr};
      ::execv("/usr/bin/python3", const_cast<char**>(argv));
      ::_exit(96);
    });
    require(::syscall(SYS_setresuid, kDropped, kDropped, kDropped));
    story.tell("leader", connect_to(path));
    leader_dropped = true;
    for (;;) ::pause();
  });
}

// --- another thread while a call waits

// Waits in connect(2) as one id, while the other threads of the process become another: a task's credentials are
// changed by itself alone, and it is in the call.
TEST(OtherIds, AWaitingCallIsWhatItWas) {
  Place place;
  make_directory(place / "pub", 0777, 0);
  UniqueFd listener(unix_socket());
  Address address = unix_address(place / "pub/s");
  ASSERT_EQ(::bind(listener.get(), address.get(), address.length), 0);
  ASSERT_EQ(::chmod((place / "pub/s").c_str(), 0777), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  Story story;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  std::thread server([&] {
    char byte;
    if (::read(ready[0], &byte, 1) != 1) std::abort();
    for (int i = 0; i < 2; ++i) {
      UniqueFd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      ucred credentials{};
      socklen_t size = sizeof credentials;
      if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) std::abort();
      story.tell("peer " + std::to_string(i), std::to_string(credentials.uid));
    }
  });
  auto result = fight_on({.session = 0, .attacker = 0}, allow_everything(place), ours(), [&] {
    limit_own_life();
    UniqueFd first(unix_socket()), second(unix_socket());
    require(::connect(first.get(), address.get(), address.length));  // fills the backlog
    std::atomic<pid_t> waiter{0};
    std::thread waiting([&] {
      require(::syscall(SYS_setresuid, -1, kDropped, -1));
      waiter = static_cast<pid_t>(::syscall(SYS_gettid));
      require(::connect(second.get(), address.get(), address.length));
    });
    while (waiter == 0) std::this_thread::yield();
    // It is in the call once the kernel says so.
    const std::string file = "/proc/self/task/" + std::to_string(waiter) + "/syscall";
    for (std::string text; !text.starts_with(std::to_string(SYS_connect) + " ");) {
      auto read = read_file(file, 256);
      text = read ? *read : "";
      if (!read) break;  // a kernel without it: what follows may come before the call
    }
    require(::syscall(SYS_setresuid, -1, kOtherUid, -1));
    if (::write(ready[1], "r", 1) != 1) return 1;
    waiting.join();
    return 0;
  });
  EXPECT_EQ(result.exit_status, 0);
  server.join();
  EXPECT_EQ(story.of("peer 0"), "0");
  EXPECT_EQ(story.of("peer 1"), std::to_string(kDropped));
}

// --- in an ordinary user's session there is nobody else

TEST(OtherIds, InAUsersSessionAnotherIdIsRefusedAndRecorded) {
  Place place;
  make_directory(place / "pub", 0777, 0);
  Server all(place / "pub/all");
  ASSERT_EQ(::chmod((place / "pub/all").c_str(), 0777), 0);
  // As where a set-user-id program started the session: the ids differ, and can be swapped.
  const Terms terms{.traps = kAllTraps, .attacker = 0};
  Story story;
  auto result = fight_on(terms, allow_everything(place), ours(), [&] {
    limit_own_life();
    require(::setresgid(kAttacker, kAttacker, kAttacker));
    require(::setresuid(kOtherUid, kAttacker, kAttacker));
    story.tell("as the session", connect_to(place / "pub/all"));
    require(::setresuid(kUnchanged, kOtherUid, kUnchanged));
    story.tell("swapped", connect_to(place / "pub/all"));
    require(::setresuid(kUnchanged, kAttacker, kUnchanged));
    story.tell("back", connect_to(place / "pub/all"));
    return 0;
  });
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(story.of("as the session"), "ok");
  EXPECT_EQ(story.of("swapped"), "EACCES");
  EXPECT_EQ(story.of("back"), "ok");
  EXPECT_EQ(result.denied, 1U);
  all.settle();
  EXPECT_EQ(all.reached(), 2U);
}

}  // namespace
}  // namespace wrapd::attack
