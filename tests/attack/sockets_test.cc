// SPDX-License-Identifier: Apache-2.0

// Sockets, the ways to them and the names they can be given. What must be as it is without us is not written down
// here: the same code runs first as the same user without a filter, then wrapped, and both must tell the same story.
// What must be refused is first reached through a supervisor that goes by the string that the program wrote.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>

#include "arena.h"
#include "naive.h"
#include "programs.h"
#include "supervisor/task.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;
using supervisor::Caller;

// ---------------------------------------------------------------------------------------------------------------------
// A supervisor that goes by the string.

// As C programmers do it: the name is a string, "@" stands for the NUL at its head.
bool looks_at_the_string(const supervisor::SessionObjects& session, const Caller& call) {
  if (call.number != SYS_connect && call.number != SYS_bind) return true;
  auto address = call.copy_address(call.arguments[1], call.arguments[2]);
  if (!address) return false;
  auto operation = call.number == SYS_bind ? policy::Operation::bind : policy::Operation::connect;
  const auto* text = reinterpret_cast<const char*>(&address->storage) + offsetof(sockaddr_un, sun_path);
  if (address->storage.ss_family != AF_UNIX) return true;
  if (text[0] == '\0') return session.layers.judge(policy::with_abstract(operation, text + 1)).permits();
  std::string path(text, ::strnlen(text, kMaxName));
  if (!path.starts_with('/')) path = "/" + path;
  return session.layers.judge(policy::with_path(operation, path)).permits();
}

MakeHandler goes_by_the_string() {
  return looks_and_lets_go(looks_at_the_string);
}

struct Aliases : DeniedSocket {
  // The program connects to the denied socket by `way`, and reaches it where the string is believed.
  void expect_won_and_lost(const std::function<std::string(const Place&)>& way) {
    Program program = [&](const Place& where, Story& story) { story.tell("connect", connect_to(way(where))); };
    {
      Story story;
      EXPECT_EQ(run_wrapped(place, story, rules(), program, goes_by_the_string()).exit_status, 0);
      server->settle();
      EXPECT_EQ(story.of("connect"), "ok") << "the harness does not bite";
      EXPECT_EQ(server->reached(), 1U) << "the harness does not bite";
    }
    Story story;
    auto result = run_wrapped(place, story, rules(), program);
    EXPECT_EQ(result.exit_status, 0);
    server->settle();
    EXPECT_EQ(story.of("connect"), "EACCES");
    EXPECT_EQ(server->reached(), 1U);
    EXPECT_EQ(result.denied, 1U);
  }
};

TEST(Alias, SymbolicLink) {
  Aliases scene;
  make_link(scene.name, scene.place / "open/link");
  scene.expect_won_and_lost([](const Place& place) { return place / "open/link"; });
}

TEST(Alias, RelativeSymbolicLinkInADirectoryThatIsALink) {
  Aliases scene;
  make_link("../kept/s", scene.place / "open/link");
  make_link("open", scene.place / "way");
  scene.expect_won_and_lost([](const Place& place) { return place / "way/./link"; });
}

TEST(Alias, DotDot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return place / "open/../kept//s"; });
}

TEST(Alias, HardLink) {
  Aliases scene;
  ASSERT_EQ(::link(scene.name.c_str(), (scene.place / "open/s").c_str()), 0);
  scene.expect_won_and_lost([](const Place& place) { return place / "open/s"; });
}

TEST(Alias, BindMountOfTheDirectory) {
  Aliases scene;
  make_directory(scene.place / "mount");
  Mounted mount(scene.place / "kept", scene.place / "mount");
  if (!mount) GTEST_SKIP() << "no mounts here";
  scene.expect_won_and_lost([](const Place& place) { return place / "mount/s"; });
}

TEST(Alias, BindMountOfTheSocket) {
  Aliases scene;
  UniqueFd file(::open((scene.place / "open/s").c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0644));
  Mounted mount(scene.name, scene.place / "open/s");
  if (!mount) GTEST_SKIP() << "no mounts here";
  scene.expect_won_and_lost([](const Place& place) { return place / "open/s"; });
}

TEST(Alias, ProcSelfRoot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return "/proc/self/root" + (place / "kept/s"); });
}

TEST(Alias, ProcThreadSelfRoot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return "/proc/thread-self/root" + (place / "kept/s"); });
}

TEST(Alias, ProcOwnPidRoot) {
  Aliases scene;
  scene.expect_won_and_lost(
      [](const Place& place) { return "/proc/" + std::to_string(::getpid()) + "/root" + (place / "kept/s"); });
}

TEST(Alias, ProcOwnTaskCwd) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "kept").c_str()) < 0) ::_exit(1);
    return "/proc/self/task/" + std::to_string(::gettid()) + "/cwd/s";
  });
}

TEST(Alias, ProcSelfDescriptorOfTheSocket) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    int fd = ::open((place / "kept/s").c_str(), O_PATH);
    return "/proc/self/fd/" + std::to_string(fd);
  });
}

TEST(Alias, DevFdOfTheDirectory) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    int fd = ::open((place / "kept").c_str(), O_PATH | O_DIRECTORY);
    return "/dev/fd/" + std::to_string(fd) + "/s";
  });
}

TEST(Alias, RelativeName) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "kept").c_str()) < 0) ::_exit(1);
    return std::string("s");
  });
}

TEST(Alias, RelativeNameThatClimbs) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "open").c_str()) < 0) ::_exit(1);
    return std::string("../kept/s");
  });
}

// A child that lives as long as its parent, in `directory`.
pid_t keep_child_in(const std::string& directory) {
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) < 0) ::_exit(1);
  pid_t child = ::fork();
  if (child == 0) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::chdir(directory.c_str()) < 0 || ::write(ready[1], "r", 1) != 1) {
      ::_exit(1);
    }
    for (;;) ::pause();
  }
  char byte;
  if (::read(ready[0], &byte, 1) != 1) ::_exit(1);
  return child;
}

TEST(Alias, DirectoryOfASiblingProcess) {
  Aliases scene;
  scene.expect_won_and_lost(
      [](const Place& place) { return "/proc/" + std::to_string(keep_child_in(place / "kept")) + "/cwd/s"; });
}

TEST(Alias, DirectoryOfAProcessOutside) {
  Aliases scene;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t outside = ::fork();
  if (outside == 0) {
    gid_t none = 0;
    if (::syscall(SYS_setgroups, 0, &none) < 0 || ::setresgid(kAttacker, kAttacker, kAttacker) < 0 ||
        ::setresuid(kAttacker, kAttacker, kAttacker) < 0 || ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ||
        ::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::chdir((scene.place / "kept").c_str()) < 0 ||
        ::write(ready[1], "r", 1) != 1) {
      ::_exit(1);
    }
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  scene.expect_won_and_lost([&](const Place&) { return "/proc/" + std::to_string(outside) + "/cwd/s"; });
  ::kill(outside, SIGKILL);
  ::waitpid(outside, nullptr, 0);
}

// Names that only look alike: a name with NULs is another one for the kernel than for a string.
TEST(Alias, AbstractNameWithNuls) {
  std::string allowed = "@wrapd-attack-" + std::to_string(::getpid());
  std::string denied = allowed + std::string("\0x", 2);
  Server bad(denied);
  std::vector<Rule> rules{{{allowed}, Verdict::allow}};
  Program program = [&](const Place&, Story& story) {
    story.tell("connect", connect_to(unix_address(std::string(1, '\0') + denied.substr(1))));
  };
  Place place;
  Story naive, real;
  EXPECT_EQ(run_wrapped(place, naive, rules, program, goes_by_the_string()).exit_status, 0);
  bad.settle();
  EXPECT_EQ(bad.reached(), 1U) << "the harness does not bite";
  EXPECT_EQ(run_wrapped(place, real, rules, program).exit_status, 0);
  bad.settle();
  EXPECT_EQ(real.of("connect"), "EACCES");
  EXPECT_EQ(bad.reached(), 1U);
}

// "@name" in a path is a file's name.
TEST(Alias, AtSignIsNotANul) {
  Place place;
  Server abstract("@wrapd-at-" + std::to_string(::getpid()));
  Story story;
  run_wrapped(place, story, {{{"@**"}, Verdict::allow}}, [&](const Place& where, Story& told) {
    if (::chdir(where.path().c_str()) < 0) ::_exit(1);
    std::string name = "@wrapd-at-" + std::to_string(::getppid());
    told.tell("bind a file", bind_to(name));
    told.tell("connect to a file", connect_to(name));
    std::string nul = name;
    nul[0] = '\0';
    told.tell("connect to the name", connect_to(nul));
  });
  EXPECT_EQ(story.of("bind a file"), "EACCES");
  EXPECT_EQ(story.of("connect to a file"), "ENOENT");
  EXPECT_EQ(story.of("connect to the name"), "ok");
}

// ---------------------------------------------------------------------------------------------------------------------
// What is allowed is as it is without us.

struct TwoServers {
  std::vector<std::unique_ptr<Server>> servers;
  void operator()(const Place& place) {
    make_directory(place / "dir");
    servers.push_back(std::make_unique<Server>(place / "dir/s"));
    make_link(place / "dir/s", place / "link");
    make_link("dir", place / "way");
    make_link("nowhere", place / "dangling");
    make_link("loop", place / "loop");
    make_directory(place / "closed", 0000);
    UniqueFd(::open((place / "file").c_str(), O_CREAT | O_CLOEXEC, 0644)).reset();
    ASSERT_EQ(::chown((place / "file").c_str(), kAttacker, kAttacker), 0);
  }
};

TEST(Native, WaysToASocket) {
  TwoServers set_up;
  expect_same_story(std::ref(set_up), allow_everything, [](const Place& place, Story& story) {
    // Numbers that nobody else has.
    int directory = ::fcntl(::open((place / "dir").c_str(), O_PATH | O_DIRECTORY), F_DUPFD, 700);
    int object = ::fcntl(::open((place / "dir/s").c_str(), O_PATH), F_DUPFD, 800);
    int file = ::open((place / "file").c_str(), O_RDONLY);
    const std::string ways[] = {place / "dir/s",
                                place / "dir//./s",
                                place / "dir/s/",
                                place / "dir/s/.",
                                place / "link",
                                place / "link/",
                                place / "way/s",
                                place / "way/../dir/s",
                                place / "dangling",
                                place / "loop",
                                place / "loop/s",
                                place / "file",
                                place / "file/",
                                place / "file/s",
                                place / "dir",
                                place / "dir/",
                                place / "absent",
                                place / "absent/s",
                                place / "closed/s",
                                place / "dir/../../../../../../../..",
                                "/",
                                ".",
                                "..",
                                "//",
                                "/..",
                                "dir/s",
                                "/proc/self/root" + (place / "dir/s"),
                                "/proc/thread-self/root" + (place / "dir/s"),
                                "/proc/" + std::to_string(::getpid()) + "/root" + (place / "link"),
                                "/proc/self/cwd",
                                "/proc/self/cwd/s",
                                "/proc/self/fd/" + std::to_string(object),
                                "/proc/self/fd/" + std::to_string(directory) + "/s",
                                "/proc/self/fd/" + std::to_string(directory),
                                "/proc/self/fd/" + std::to_string(file),
                                "/proc/thread-self/fd/" + std::to_string(object),
                                "/dev/fd/" + std::to_string(object),
                                "/proc/self/fd/999/s",
                                "/proc/self/fd/" + std::to_string(file) + "/s",
                                "/proc/self/absent",
                                "/proc/absent/root",
                                "/dev/null",
                                std::string(kMaxName, 'x'),
                                std::string(kMaxName, '/'),
                                place.path() + std::string("\0/dir/s", 7),
                                (place / "dir/s") + std::string("\0nonsense", 9),
                                std::string(1, '\0'),
                                std::string(kMaxName, '\0')};
    int number = 0;
    auto name = [&](const std::string& way) { return std::to_string(number++) + " " + std::string(way.c_str()); };
    for (const std::string& way : ways) {
      // Numbers of processes and descriptors differ.
      bool numbers = way.starts_with("/proc/") || way.starts_with("/dev/fd/");
      story.tell(numbers ? name("in /proc") : name(way), connect_to(way));
    }
    if (::chdir((place / "dir").c_str()) < 0) ::_exit(1);
    for (const char* way :
         {"s", "./s", "../dir/s", "../link", "../way/s", "..", "absent", "../closed/s", "s/", "s/s"}) {
      story.tell("in dir " + name(way), connect_to(way));
    }
    if (::mkdir("gone", 0700) < 0 || ::chdir("gone") < 0 || ::rmdir("../gone") < 0) ::_exit(1);
    for (const char* way : {"s", "../s", "../dir/s", ".."}) story.tell("in no dir " + name(way), connect_to(way));
    story.tell("bind in no dir", bind_to("x"));
    story.tell("bind above no dir", bind_to("../x"));
  });
}

TEST(Native, FilePermissionsHold) {
  std::vector<std::unique_ptr<Server>> servers;
  auto set_up = [&](const Place& place) {
    make_directory(place / "root-only", 0700, 0);
    make_directory(place / "other-only", 0700, kOtherUid);
    make_directory(place / "searchable", 0711, 0);
    for (const char* name : {"root-only/s", "other-only/s", "searchable/s", "searchable/shut", "searchable/other"}) {
      servers.push_back(std::make_unique<Server>(place / name));
    }
    ASSERT_EQ(::chmod((place / "searchable/shut").c_str(), 0), 0);
    ASSERT_EQ(::chown((place / "searchable/other").c_str(), kOtherUid, kOtherUid), 0);
    ASSERT_EQ(::chmod((place / "searchable/other").c_str(), 0600), 0);
  };
  expect_same_story(set_up, allow_everything, [](const Place& place, Story& story) {
    for (const char* name : {"root-only/s", "other-only/s", "searchable/s", "searchable/shut", "searchable/other"}) {
      story.tell(name, connect_to(place / name));
    }
    for (const char* name : {"root-only/x", "other-only/x", "searchable/x", "root-only/s", "searchable/s"}) {
      story.tell(std::string("bind ") + name, bind_to(place / name));
    }
  });
  // Not a story of failures only.
  ASSERT_EQ(servers.size(), 10U);
}

TEST(Native, StickyDirectories) {
  std::vector<std::unique_ptr<Server>> servers;
  auto set_up = [&](const Place& place) {
    make_directory(place / "sticky", 01777, 0);
    servers.push_back(std::make_unique<Server>(place / "s"));
    make_link(place / "s", place / "sticky/mine");
    ASSERT_EQ(::symlink((place / "s").c_str(), (place / "sticky/root").c_str()), 0);
    // Through a magic link, so that our own walk is taken.
    make_link("/proc/self/root" + (place / "s"), place / "sticky/mine-by-proc");
  };
  expect_same_story(set_up, allow_everything, [](const Place& place, Story& story) {
    for (const char* name : {"sticky/mine", "sticky/root", "sticky/mine-by-proc"})
      story.tell(name, connect_to(place / name));
    story.tell("bind", bind_to(place / "sticky/new"));
  });
}

void tell_shapes(const Place& place, Story& story, const std::string& label, int domain, int type) {
  // Every length of one address, then families that are not the socket's. Where it is cut, the rest is a name in the
  // place: an absolute one would be cut to names that are everybody's.
  if (::chdir(place.path().c_str()) < 0) ::_exit(1);
  for (bool bind : {false, true}) {
    for (int family : {int{AF_UNIX}, int{AF_UNSPEC}, int{AF_INET}, int{AF_INET6}, 4711}) {
      for (int length :
           {INT_MIN, -1, 0, 1, 2, 3, 4, 8, 15, 16, 17, 27, 28, 29, 64, 109, 110, 111, 127, 128, 129, 4096, INT_MAX}) {
        Address address;
        std::string path = label + "-name-that-is-cut/x";
        std::memcpy(reinterpret_cast<char*>(&address.storage) + 2, path.data(), path.size());
        if (family == AF_INET || family == AF_INET6) std::memset(&address.storage, 0, sizeof address.storage);
        address.storage.ss_family = static_cast<sa_family_t>(family);
        UniqueFd fd(::socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        long rc = ::syscall(bind ? SYS_bind : SYS_connect, fd.get(), &address.storage, length);
        story.tell(label + (bind ? " bind" : " connect") + " family " + std::to_string(family) + " length " +
                       std::to_string(length),
                   outcome(rc));
      }
    }
  }
}

TEST(Native, ShapesOfAddresses) {
  expect_same_story({}, allow_everything, [](const Place& place, Story& story) {
    tell_shapes(place, story, "unix stream", AF_UNIX, SOCK_STREAM);
    tell_shapes(place, story, "unix seqpacket", AF_UNIX, SOCK_SEQPACKET);
    tell_shapes(place, story, "tcp", AF_INET, SOCK_STREAM);
    tell_shapes(place, story, "udp", AF_INET, SOCK_DGRAM);
    tell_shapes(place, story, "tcp6", AF_INET6, SOCK_STREAM);
  });
}

TEST(Native, MemoryThatCannotBeRead) {
  TwoServers set_up;
  expect_same_story(std::ref(set_up), allow_everything, [](const Place& place, Story& story) {
    auto page = static_cast<size_t>(::getpagesize());
    auto* two =
        static_cast<char*>(::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (two == MAP_FAILED || ::mprotect(two + page, page, PROT_NONE) < 0) ::_exit(1);
    int file = ::open((place / "truncated").c_str(), O_CREAT | O_RDWR, 0600);
    if (::ftruncate(file, static_cast<off_t>(page)) < 0) ::_exit(1);
    void* mapped = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED || ::ftruncate(file, 0) < 0) ::_exit(1);
    Address good = unix_address(place / "dir/s");
    char* at_the_end = two + page - good.length;
    std::memcpy(at_the_end, good.get(), good.length);
    for (auto call : {SYS_connect, SYS_bind}) {
      auto tell = [&](const char* what, const void* address, int length) {
        UniqueFd fd(unix_socket());
        story.tell(std::string(call == SYS_bind ? "bind " : "connect ") + what,
                   outcome(::syscall(call, fd.get(), address, length)));
      };
      tell("null", nullptr, 110);
      tell("null of no length", nullptr, 0);
      tell("unmapped", reinterpret_cast<void*>(16), 110);
      tell("kernel", reinterpret_cast<void*>(~uintptr_t{0} - 4096), 110);
      tell("last byte", reinterpret_cast<void*>(~uintptr_t{0}), 110);
      tell("not readable", two + page, 110);
      tell("truncated", mapped, 110);
      tell("up to the end", at_the_end, static_cast<int>(good.length));
      tell("beyond the end", at_the_end, static_cast<int>(good.length) + 1);
    }
    story.tell("no descriptor", outcome(::connect(-1, good.get(), good.length)));
    story.tell("closed descriptor", outcome(::connect(1000, good.get(), good.length)));
    story.tell("descriptor of high bits", outcome(::syscall(SYS_connect, 0x7000003e8L, good.get(), good.length)));
    story.tell("a file", outcome(::connect(file, good.get(), good.length)));
    story.tell("a file, bind", outcome(::bind(file, good.get(), good.length)));
    story.tell("a file, listen", outcome(::listen(file, 1)));
    int handle = ::open((place / "dir").c_str(), O_PATH);
    story.tell("an O_PATH descriptor", outcome(::connect(handle, good.get(), good.length)));
    UniqueFd two_times(unix_socket());
    story.tell("connect once", outcome(::connect(two_times.get(), good.get(), good.length)));
    story.tell("connect twice", outcome(::connect(two_times.get(), good.get(), good.length)));
    story.tell("listen on a connected one", outcome(::listen(two_times.get(), 1)));
    story.tell("another type", connect_to(good, SOCK_SEQPACKET));
  });
}

TEST(Native, BindAndWhatItLeaves) {
  auto set_up = [](const Place& place) {
    make_directory(place / "dir");
    make_directory(place / "real");
    make_link("real", place / "way");
    make_link("absent", place / "dangling");
    UniqueFd(::open((place / "file").c_str(), O_CREAT | O_CLOEXEC, 0644)).reset();
  };
  expect_same_story(set_up, allow_everything, [](const Place& place, Story& story) {
    auto mode_of = [](const std::string& path) {
      struct stat st {};
      if (::lstat(path.c_str(), &st) < 0) return outcome(-1);
      std::array<char, 64> text;
      std::snprintf(text.data(), text.size(), "%o uid %u gid %u", st.st_mode, st.st_uid, st.st_gid);
      return std::string(text.data());
    };
    auto full = [&](const std::string& label, const Address& address, int type) {
      UniqueFd server(unix_socket(type));
      story.tell(label + ": listen before", outcome(::listen(server.get(), 1)));
      story.tell(label + ": bind", outcome(::bind(server.get(), address.get(), address.length)));
      story.tell(label + ": name", name_of(server.get()));
      story.tell(label + ": bind again", outcome(::bind(server.get(), address.get(), address.length)));
      story.tell(label + ": listen", outcome(::listen(server.get(), 1)));
      story.tell(label + ": listen again", outcome(::listen(server.get(), 2)));
      UniqueFd client(unix_socket(type));
      story.tell(label + ": connect", outcome(::connect(client.get(), address.get(), address.length)));
      story.tell(label + ": peer", name_of(client.get(), true));
      ucred peer{};
      socklen_t size = sizeof peer;
      if (::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        story.tell(label + ": peer's uid", std::to_string(peer.uid) + "/" + std::to_string(peer.gid));
      }
      UniqueFd accepted(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (accepted && ::getsockopt(accepted.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
        story.tell(label + ": client's uid", std::to_string(peer.uid) + "/" + std::to_string(peer.gid));
      }
    };
    full("stream", unix_address(place / "dir/stream"), SOCK_STREAM);
    full("with a NUL", unix_address((place / "dir/with-nul") + std::string(1, '\0')), SOCK_STREAM);
    full("seqpacket", unix_address(place / "dir/seqpacket"), SOCK_SEQPACKET);
    full("through a link", unix_address(place / "way/s"), SOCK_STREAM);
    full("odd spelling", unix_address(place / "dir//.././dir/odd"), SOCK_STREAM);
    full("embedded NUL", unix_address((place / "dir/nul") + std::string("\0more", 5)), SOCK_STREAM);
    std::string longest = place / "dir/";
    longest += std::string(kMaxName - longest.size(), 'x');
    full("of 108 bytes", unix_address(longest), SOCK_STREAM);
    story.tell("of 108 bytes, mode", mode_of(longest));
    // The namespace of abstract names is shared with everybody.
    std::string abstract = std::string(1, '\0') + "wrapd-attack-abstract";
    full("abstract", unix_address(abstract), SOCK_STREAM);
    full("abstract with NULs", unix_address(abstract + std::string("\0\0x\0", 4)), SOCK_STREAM);
    full("abstract of full length", unix_address(abstract + std::string(kMaxName - abstract.size(), '\0')),
         SOCK_STREAM);
    full("abstract and empty", unix_address(std::string(1, '\0')), SOCK_STREAM);

    // A mask that keeps the owner from writing keeps us from seeing that the socket is bound: refused, and documented.
    for (unsigned mask : {0U, 022U, 077U, 0577U}) {
      ::umask(mask);
      std::string path = (place / "dir/umask") + std::to_string(mask);
      story.tell("umask bind " + std::to_string(mask), bind_to(path));
      story.tell("umask mode " + std::to_string(mask), mode_of(path));
    }
    ::umask(022);
    if (::chdir((place / "dir").c_str()) < 0) ::_exit(1);
    full("relative", unix_address("relative"), SOCK_STREAM);
    full("relative, climbing", unix_address("../real/climbing"), SOCK_STREAM);
    full("relative, by a link", unix_address("../way/by-link"), SOCK_STREAM);
    full("dot", unix_address("./dot"), SOCK_STREAM);
    story.tell("relative mode", mode_of(place / "dir/relative"));
    for (const char* name :
         {"stream",    "../file",  "../dangling",     "../way",        ".",       "..",       "/",
          "./",        "../dir",   "../dir/",         "new/",          "stream/", "../file/", "stream/x",
          "../file/x", "absent/x", "../dangling/",    "../dangling/x", "new/.",   "new/..",   "./.",
          "../dir/..", "//",       "../dir//new-one", "../way/"}) {
      story.tell(std::string("bind ") + name, bind_to(name));
    }
    UniqueFd automatic(unix_socket());
    Address family;
    family.storage.ss_family = AF_UNIX;
    family.length = sizeof(sa_family_t);
    story.tell("autobind", outcome(::bind(automatic.get(), family.get(), family.length)));
    story.tell("autobind, length", name_of(automatic.get()).substr(0, 3));
    story.tell("autobind, listen", outcome(::listen(automatic.get(), 1)));
    story.tell("autobind, again", outcome(::bind(automatic.get(), family.get(), family.length)));
  });
}

TEST(Native, Loopback) {
  expect_same_story({}, allow_everything, [](const Place& place, Story& story) {
    for (int domain : {int{AF_INET}, int{AF_INET6}}) {
      std::string label = domain == AF_INET ? "v4 " : "v6 ";
      Address address;
      address.storage.ss_family = static_cast<sa_family_t>(domain);
      if (domain == AF_INET) {
        reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.length = sizeof(sockaddr_in);
      } else {
        reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_addr = in6addr_loopback;
        address.length = sizeof(sockaddr_in6);
      }
      UniqueFd server(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
      story.tell(label + "bind", outcome(::bind(server.get(), address.get(), address.length)));
      socklen_t length = sizeof address.storage;
      ::getsockname(server.get(), reinterpret_cast<sockaddr*>(&address.storage), &length);
      auto tell = [&](const std::string& what, int flags, const Address& to) {
        UniqueFd client(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
        int rc = ::connect(client.get(), to.get(), to.length);
        story.tell(label + what, outcome(rc));
        if (rc < 0 && errno == EINPROGRESS) {
          struct pollfd p {
            .fd = client.get(), .events = POLLOUT, .revents = 0
          };
          story.tell(label + what + ", poll", std::to_string(::poll(&p, 1, 10000)));
          int error = -1;
          socklen_t size = sizeof error;
          ::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size);
          story.tell(label + what + ", error", std::to_string(error));
        }
        story.tell(label + what + ", again", outcome(::connect(client.get(), to.get(), to.length)));
        story.tell(label + what + ", a unix address",
                   outcome(::connect(client.get(), unix_address(place / "x").get(), 110)));
        Address unspecified;
        unspecified.length = sizeof(sockaddr_in);
        story.tell(label + what + ", dissolved",
                   outcome(::connect(client.get(), unspecified.get(), unspecified.length)));
      };
      tell("refused", 0, address);
      tell("refused, non-blocking", SOCK_NONBLOCK, address);
      story.tell(label + "listen", outcome(::listen(server.get(), 16)));
      tell("accepted", 0, address);
      tell("accepted, non-blocking", SOCK_NONBLOCK, address);
      UniqueFd second(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
      story.tell(label + "in use", outcome(::bind(second.get(), address.get(), address.length)));
      UniqueFd datagram(::socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      story.tell(label + "udp", outcome(::connect(datagram.get(), address.get(), address.length)));
      story.tell(label + "udp listen", outcome(::listen(datagram.get(), 1)));
      Address low = address;
      reinterpret_cast<sockaddr_in*>(&low.storage)->sin_port = htons(1);
      UniqueFd third(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
      story.tell(label + "low port", outcome(::bind(third.get(), low.get(), low.length)));
    }
  });
}

// Names are mediated, and nothing of that is seen where nothing is ruled: what the differential test does not meet.
TEST(Native, RenamesAndLinks) {
  auto set_up = [](const Place& place) {
    make_directory(place / "a");
    make_directory(place / "root", 0755, 0);
    make_directory(place / "sticky", 01777, 0);
    make_link("a", place / "way");
    make_link("nowhere", place / "dangling");
    for (const char* name : {"a/file", "a/second", "file", "root/file", "sticky/file"}) {
      UniqueFd(::open((place / name).c_str(), O_CREAT | O_CLOEXEC, 0644)).reset();
      if (name[0] == 'r' || name[0] == 's') continue;
      ASSERT_EQ(::chown((place / name).c_str(), kAttacker, kAttacker), 0);
    }
  };
  Program program = [](const Place& place, Story& story) {
    if (::chdir(place.path().c_str()) < 0) ::_exit(1);
    int number = 0;
    auto rename = [&](int old_dir, const char* from, int new_dir, const char* to, unsigned flags = 0) {
      story.tell(std::to_string(number++) + " rename " + from + " " + to + " " + std::to_string(flags),
                 outcome(::syscall(SYS_renameat2, old_dir, from, new_dir, to, flags)));
    };
    auto link = [&](int old_dir, const char* from, int new_dir, const char* to, int flags = 0) {
      story.tell(std::to_string(number++) + " link " + from + " " + to + " " + std::to_string(flags),
                 outcome(::syscall(SYS_linkat, old_dir, from, new_dir, to, flags)));
    };
    const int cwd = AT_FDCWD;
    rename(cwd, "a/file", cwd, "a/second", 1U << 20);
    rename(cwd, "dangling", cwd, "moved-link");
    rename(cwd, "way/second", cwd, "way/file");
    rename(cwd, "way/", cwd, "x");
    rename(cwd, "file", cwd, "root/x");
    rename(cwd, "root/file", cwd, "x");
    rename(cwd, "sticky/file", cwd, "x");
    rename(cwd, "file", cwd, "/proc/self/x");
    rename(cwd, "file", cwd, "/dev/shm/wrapd-attack");
    link(cwd, "file", cwd, "link1");
    link(cwd, "moved-link", cwd, "link5");
    link(cwd, "moved-link", cwd, "link6", AT_SYMLINK_FOLLOW);
    link(cwd, "way", cwd, "link7", AT_SYMLINK_FOLLOW);
    link(cwd, "root/file", cwd, "link8");
    link(cwd, "file", cwd, "link10", 1);
    link(cwd, "file", cwd, "root/x");
    int nameless = ::open(".", O_TMPFILE | O_RDWR, 0600);
    if (nameless >= 0) {
      std::string name = "/proc/self/fd/" + std::to_string(nameless);
      story.tell("link of a nameless file", outcome(::linkat(cwd, name.c_str(), cwd, "named", AT_SYMLINK_FOLLOW)));
    }
    struct stat st {};
    for (const char* name : {"named", "link1", "link5", "a/file", "a/second", "file"}) {
      story.tell(std::string("in the end ") + name,
                 ::lstat(name, &st) < 0 ? outcome(-1) : std::to_string(st.st_mode) + " " + std::to_string(st.st_nlink));
    }
    auto* none = reinterpret_cast<const char*>(16);
    story.tell("unreadable", outcome(::syscall(SYS_rename, none, "x")));
    story.tell("unreadable, second", outcome(::syscall(SYS_rename, "file", none)));
    story.tell("too long", outcome(::rename(std::string(PATH_MAX, 'x').c_str(), "x")));
    story.tell("nearly too long", outcome(::rename((std::string(PATH_MAX - 5, '/') + "x").c_str(), "x")));
  };
  expect_same_story(set_up, allow_everything, program, kAllTraps);
}

// ---------------------------------------------------------------------------------------------------------------------
// Datagrams

TEST(Datagrams, AreRefusedAtBirth) {
  Place place;
  Story story;
  auto result = run_wrapped(place, story, allow_everything(place), [](const Place&, Story& told) {
    int pair[2];
    for (int type : {int{SOCK_DGRAM}, int{SOCK_RAW}, int{SOCK_RDM}, int{SOCK_DCCP}, 0, 15}) {
      for (int flags : {0, int{SOCK_CLOEXEC}, int{SOCK_NONBLOCK}}) {
        std::string what = std::to_string(type | flags);
        told.tell("socket " + what, ::socket(AF_UNIX, type | flags, 0) >= 0 ? "made" : "refused");
        told.tell("pair " + what, ::socketpair(AF_UNIX, type | flags, 0, pair) >= 0 ? "made" : "refused");
      }
    }
    told.tell("high bits", ::syscall(SYS_socket, 0x100000001L, 0x100000002L, 0) >= 0 ? "made" : "refused");
    told.tell("stream", ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? "yes" : "no");
    told.tell("seqpacket", ::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) >= 0 ? "yes" : "no");
    told.tell("tcp", ::socket(AF_INET, SOCK_STREAM, 0) >= 0 ? "yes" : "no");
    told.tell("udp", ::socket(AF_INET, SOCK_DGRAM, 0) >= 0 ? "yes" : "no");
  });
  EXPECT_EQ(story.all().find("made"), std::string::npos) << story.all();
  EXPECT_EQ(story.all().find(": no"), std::string::npos) << story.all();
  EXPECT_GE(result.denied, 12U);
}

// ---------------------------------------------------------------------------------------------------------------------
// Names that are moved

// Directories "kept" (denied) and "open" (allowed) that belong to the attacker, with a socket in the first.
struct Moves {
  Place place;
  std::unique_ptr<Server> bad;
  Moves() {
    make_directory(place / "kept");
    make_directory(place / "kept/sub");
    make_directory(place / "open");
    bad = std::make_unique<Server>(place / "kept/sub/s");
  }
  [[nodiscard]] std::vector<Rule> rules() const { return {{{place / "open/**"}, Verdict::allow}}; }
};

// Moves what is denied to an allowed name and connects there: wins where renames are not brought to us.
void expect_move_lost(const std::function<void(const Place&, Story&)>& move, const std::string& name) {
  for (bool mediated : {false, true}) {
    Moves scene;
    Story story;
    auto result = run_wrapped(
        scene.place, story, scene.rules(),
        [&](const Place& place, Story& told) {
          move(place, told);
          told.tell("connect", connect_to(place / name));
        },
        ours(), mediated ? kAllTraps : plan::kUnixSocketTraps);
    EXPECT_EQ(result.exit_status, 0);
    scene.bad->settle();
    EXPECT_EQ(scene.bad->reached(), mediated ? 0U : 1U) << (mediated ? "" : "the harness does not bite") << story.all();
    EXPECT_EQ(story.of("move"), mediated ? "EACCES" : "ok");
  }
}

TEST(Moves, RenameOfTheSocket) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        story.tell("move", outcome(::rename((place / "kept/sub/s").c_str(), (place / "open/s").c_str())));
      },
      "open/s");
}

TEST(Moves, RenameOfItsDirectory) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        story.tell("move", outcome(::rename((place / "kept/sub").c_str(), (place / "open/sub").c_str())));
      },
      "open/sub/s");
}

TEST(Moves, RenameOfADirectoryAbove) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        story.tell("move", outcome(::syscall(SYS_renameat, AT_FDCWD, (place / "kept").c_str(), AT_FDCWD,
                                             (place / "open/kept").c_str())));
      },
      "open/kept/sub/s");
}

TEST(Moves, Exchange) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        if (::mkdir((place / "open/x").c_str(), 0700) < 0) ::_exit(1);
        story.tell("move", outcome(::syscall(SYS_renameat2, AT_FDCWD, (place / "open/x").c_str(), AT_FDCWD,
                                             (place / "kept/sub").c_str(), RENAME_EXCHANGE)));
      },
      "open/x/s");
}

TEST(Moves, HardLink) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        story.tell("move", outcome(::link((place / "kept/sub/s").c_str(), (place / "open/s").c_str())));
      },
      "open/s");
}

TEST(Moves, HardLinkOfADescriptor) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        int fd = ::open((place / "kept/sub/s").c_str(), O_PATH);
        std::string name = "/proc/self/fd/" + std::to_string(fd);
        story.tell("move",
                   outcome(::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, (place / "open/s").c_str(), AT_SYMLINK_FOLLOW)));
      },
      "open/s");
}

TEST(Moves, RelativeToDescriptors) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        int from = ::open((place / "kept/sub").c_str(), O_PATH), to = ::open((place / "open").c_str(), O_PATH);
        story.tell("move", outcome(::renameat(from, "s", to, "s")));
      },
      "open/s");
}

// What cannot be looked through may hold a socket: with a list that can be read but not searched, nothing is seen.
TEST(Moves, DirectoryThatCannotBeSearched) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        // The owner of a directory may move it and what it holds without being able to search it.
        if (::chmod((place / "kept/sub").c_str(), 0600) < 0) ::_exit(1);
        story.tell("move", outcome(::rename((place / "kept/sub").c_str(), (place / "open/sub").c_str())));
        (void)::chmod((place / "open/sub").c_str(), 0700);
        (void)::chmod((place / "kept/sub").c_str(), 0700);
      },
      "open/sub/s");
}

TEST(Moves, DirectoryAboveOneThatCannotBeRead) {
  expect_move_lost(
      [](const Place& place, Story& story) {
        if (::chmod((place / "kept/sub").c_str(), 0300) < 0) ::_exit(1);
        story.tell("move", outcome(::rename((place / "kept").c_str(), (place / "open/kept").c_str())));
        (void)::chmod((place / "open/kept/sub").c_str(), 0700);
      },
      "open/kept/sub/s");
}

// ---------------------------------------------------------------------------------------------------------------------
// listen and bind

TEST(Listen, InheritedSocketIsJudgedByItsName) {
  Place place;
  make_directory(place / "open");
  make_directory(place / "kept");
  UniqueFd good(unix_socket()), bad(unix_socket());
  for (auto [fd, name] : {std::pair{&good, "open/s"}, std::pair{&bad, "kept/s"}}) {
    Address address = unix_address(place / name);
    ASSERT_EQ(::bind(fd->get(), address.get(), address.length), 0);
    ASSERT_EQ(::chown((place / name).c_str(), kAttacker, kAttacker), 0);
  }
  Story story;
  run_wrapped(place, story, {{{place / "open/**"}, Verdict::allow}}, [&](const Place&, Story& told) {
    told.tell("good", outcome(::listen(good.get(), 1)));
    told.tell("bad", outcome(::listen(bad.get(), 1)));
  });
  EXPECT_EQ(story.of("good"), "ok");
  EXPECT_EQ(story.of("bad"), "EACCES");
}

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

// A policy that lets the program bind in more places than it may serve in.
constexpr uint8_t kBindOnly = policy::bit(policy::Operation::bind);

std::vector<Rule> serve_and_bind(const Place& place) {
  return {{{place / "serve/*"}, Verdict::allow}, {{place / "bind/**"}, Verdict::allow, kBindOnly}};
}

// A socket whose bind was many binds ago is not judged by where its name leads now: the name may be a way that has
// been turned round since.
TEST(Listen, SocketThatWasBoundLongAgo) {
  Place place;
  make_directory(place / "serve");
  make_directory(place / "bind");
  make_link("bind", place / "way");
  Story story;
  run_wrapped(place, story, serve_and_bind(place), [](const Place& where, Story& told) {
    UniqueFd kept(unix_socket());
    Address name = unix_address(where / "way/s");
    told.tell("bind", outcome(::bind(kept.get(), name.get(), name.length)));
    told.tell("listen early", outcome(::listen(kept.get(), 1)));
    told.tell("decoy", bind_to(where / "serve/s"));
    for (int i = 0; i < 1100; ++i) {
      std::string other = where / "bind/other";
      if (bind_to(other) != "ok" || ::unlink(other.c_str()) < 0) ::_exit(1);
    }
    if (::unlink((where / "way").c_str()) < 0 || ::symlink("serve", (where / "way").c_str()) < 0) ::_exit(1);
    told.tell("listen late", outcome(::listen(kept.get(), 1)));
    told.tell("listens", listens(kept.get()) ? "yes" : "no");
  });
  EXPECT_EQ(story.of("bind"), "ok");
  EXPECT_EQ(story.of("decoy"), "ok");
  EXPECT_EQ(story.of("listen early"), "EACCES");
  EXPECT_EQ(story.of("listen late"), "EACCES");
  EXPECT_EQ(story.of("listens"), "no");
}

}  // namespace
}  // namespace wrapd::attack
