// SPDX-License-Identifier: Apache-2.0

// Sockets, the ways to them and the names they can be given. What must be as it is without us is not written down
// here: the same code runs first as the same user without a filter, then wrapped, and both must tell the same story.
// What must be refused is first reached through a supervisor that goes by the string that the program wrote.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "arena.h"
#include "kernel/uapi.h"
#include "supervisor/task.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;
using supervisor::Answer;
using supervisor::Notification;
using supervisor::Outcome;
using supervisor::Record;

constexpr int kOtherUid = 64018;
constexpr size_t kMaxName = sizeof(sockaddr_un::sun_path);

// ---------------------------------------------------------------------------------------------------------------------
// What a program under test tells of itself, in memory that it shares with us.

class Story {
 public:
  Story() {
    void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    text_ = static_cast<char*>(memory);
  }
  ~Story() { ::munmap(text_, kSize); }
  Story(const Story&) = delete;
  Story& operator=(const Story&) = delete;
  void tell(const std::string& what, const std::string& how) {
    std::string line = what + ": " + how + "\n";
    size_t used = std::strlen(text_);
    if (used + line.size() >= kSize) std::abort();
    std::memcpy(text_ + used, line.data(), line.size());
  }
  // The line about `what`, or nothing.
  [[nodiscard]] std::string of(const std::string& what) const {
    std::string all = std::string("\n") + text_;
    size_t at = all.find("\n" + what + ": ");
    if (at == std::string::npos) return "(nothing told)";
    at += what.size() + 3;
    return all.substr(at, all.find('\n', at) - at);
  }
  [[nodiscard]] std::string all() const { return text_; }

 private:
  static constexpr size_t kSize = 1U << 18;
  char* text_;
};

std::string outcome(long rc) {
  if (rc >= 0) return "ok";
  const char* name = ::strerrorname_np(errno);
  return name != nullptr ? name : "errno " + std::to_string(errno);
}

using Program = std::function<void(const Place& place, Story& story)>;
using Rules = std::function<std::vector<Rule>(const Place& place)>;

// Whatever goes wrong, a program under test ends.
void limit_own_life() {
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMAX;
  timer_t timer;
  itimerspec end{.it_interval = {}, .it_value = {.tv_sec = 120, .tv_nsec = 0}};
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 || ::timer_settime(timer, 0, &end, nullptr) < 0) ::_exit(77);
}

int run_natively(const Place& place, Story& story, const Program& program) {
  pid_t child = ::fork();
  if (child == 0) {
    gid_t none = 0;
    if (::syscall(SYS_setgroups, 0, &none) < 0 || ::setresgid(kAttacker, kAttacker, kAttacker) < 0 ||
        ::setresuid(kAttacker, kAttacker, kAttacker) < 0 || ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
      ::_exit(99);
    }
    limit_own_life();
    program(place, story);
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status;
}

Result run_wrapped(const Place& place, Story& story, const std::vector<Rule>& rules, const Program& program,
                   const MakeHandler& handler = ours(), plan::FilterSpec spec = {true, false}) {
  return fight(
      rules, handler,
      [&] {
        limit_own_life();
        program(place, story);
        return 0;
      },
      spec);
}

// Runs `program` in two places that `set_up` made alike.
void expect_same_story(const std::function<void(const Place&)>& set_up, const Rules& rules, const Program& program,
                       plan::FilterSpec spec = {true, false}) {
  std::string stories[2];
  for (int wrapped : {0, 1}) {
    Place place;
    if (set_up) set_up(place);
    Story story;
    if (wrapped != 0) {
      EXPECT_EQ(run_wrapped(place, story, rules(place), program, ours(), spec).exit_status, 0);
    } else {
      EXPECT_EQ(run_natively(place, story, program), 0);
    }
    std::string text = story.all();
    for (size_t at; (at = text.find(place.path())) != std::string::npos;) text.replace(at, place.path().size(), "PLACE");
    stories[wrapped] = text;
  }
  EXPECT_GT(stories[0].size(), 0U);
  EXPECT_EQ(stories[0], stories[1]) << "first without, then with us";
}

std::vector<Rule> allow_everything(const Place&) {
  return {{{"/**", "@**"}, Verdict::allow}};
}

// ---------------------------------------------------------------------------------------------------------------------
// What programs do.

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// `bytes` are all that follows the family.
Address unix_address(const std::string& bytes) {
  Address address;
  address.storage.ss_family = AF_UNIX;
  std::memcpy(reinterpret_cast<char*>(&address.storage) + offsetof(sockaddr_un, sun_path), bytes.data(), bytes.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes.size());
  return address;
}

int unix_socket(int type = SOCK_STREAM) { return ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0); }

std::string connect_to(const Address& address, int type = SOCK_STREAM) {
  UniqueFd fd(unix_socket(type));
  return outcome(::connect(fd.get(), address.get(), address.length));
}
std::string connect_to(const std::string& path) { return connect_to(unix_address(path)); }

std::string bind_to(const Address& address) {
  UniqueFd fd(unix_socket());
  return outcome(::bind(fd.get(), address.get(), address.length));
}
std::string bind_to(const std::string& path) { return bind_to(unix_address(path)); }

std::string name_of(int fd, bool peer = false) {
  Address address;
  address.length = sizeof address.storage;
  auto* name = reinterpret_cast<sockaddr*>(&address.storage);
  int rc = peer ? ::getpeername(fd, name, &address.length) : ::getsockname(fd, name, &address.length);
  if (rc < 0) return outcome(rc);
  std::string text = "[" + std::to_string(address.length) + "] ";
  for (size_t i = offsetof(sockaddr_un, sun_path); i < address.length; ++i) {
    char c = reinterpret_cast<const char*>(&address.storage)[i];
    if (c == '\0') {
      text += "\\0";
    } else {
      text += c;
    }
  }
  return text;
}

void make_directory(const std::string& path, mode_t mode = 0755, uid_t owner = kAttacker) {
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0) << path;
  ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  ASSERT_EQ(::chown(path.c_str(), owner, owner), 0);
}

void make_link(const std::string& target, const std::string& path) {
  ASSERT_EQ(::symlink(target.c_str(), path.c_str()), 0) << path;
  ASSERT_EQ(::lchown(path.c_str(), kAttacker, kAttacker), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// A supervisor that goes by the string.

class GoesByTheString final : public supervisor::Handler {
 public:
  explicit GoesByTheString(const supervisor::SessionObjects& session) : session_(session) {}
  Outcome handle(const Notification& call, supervisor::CallContext&) override {
    bool permitted = true;
    if (call.number == SYS_connect || call.number == SYS_bind) {
      auto address = supervisor::copy_address(session_.kernel, call, call.arguments[1], call.arguments[2]);
      auto operation = call.number == SYS_bind ? policy::UnixOperation::bind : policy::UnixOperation::connect;
      permitted = address && judge(operation, *address);
    }
    Record record{.operation = "naive"};
    record.done = permitted;
    if (!permitted) return {.answer = Answer::errno_of(EACCES), .record = record};
    // Not safe, which is what this class is here to show.
    return {.answer = {.run_natively = true}, .record = record};
  }

 private:
  bool judge(policy::UnixOperation operation, const supervisor::AddressCopy& address) const {
    // As C programmers do it: the name is a string, "@" stands for the NUL at its head.
    const auto* text = reinterpret_cast<const char*>(&address.storage) + offsetof(sockaddr_un, sun_path);
    if (address.storage.ss_family != AF_UNIX) return true;
    if (text[0] == '\0') return session_.layers.judge_abstract(operation, text + 1).permits();
    std::string path(text, ::strnlen(text, kMaxName));
    if (!path.starts_with('/')) path = "/" + path;
    return session_.layers.judge_path(operation, path).permits();
  }
  supervisor::SessionObjects session_;
};

MakeHandler goes_by_the_string() {
  return [](const supervisor::SessionObjects& session, kernel::Kernel&) {
    return std::make_unique<GoesByTheString>(session);
  };
}

// A denied socket in a directory of its own, everything else allowed.
struct Aliases {
  Place place;
  std::string denied;
  std::unique_ptr<Server> bad;

  Aliases() {
    make_directory(place / "denied");
    make_directory(place / "open");
    denied = place / "denied/s";
    bad = std::make_unique<Server>(denied);
  }
  [[nodiscard]] std::vector<Rule> rules() const { return {{{denied}, Verdict::deny}, {{"/**", "@**"}, Verdict::allow}}; }

  // The program connects to the denied socket by `way`, and reaches it where the string is believed.
  void expect_won_and_lost(const std::function<std::string(const Place&)>& way) {
    Program program = [&](const Place& where, Story& story) { story.tell("connect", connect_to(way(where))); };
    {
      Story story;
      EXPECT_EQ(run_wrapped(place, story, rules(), program, goes_by_the_string()).exit_status, 0);
      bad->settle();
      EXPECT_EQ(story.of("connect"), "ok") << "the harness does not bite";
      EXPECT_EQ(bad->reached(), 1U) << "the harness does not bite";
    }
    Story story;
    auto result = run_wrapped(place, story, rules(), program);
    EXPECT_EQ(result.exit_status, 0);
    bad->settle();
    EXPECT_EQ(story.of("connect"), "EACCES");
    EXPECT_EQ(bad->reached(), 1U);
    EXPECT_EQ(result.denied, 1U);
  }
};

TEST(Alias, SymbolicLink) {
  Aliases scene;
  make_link(scene.denied, scene.place / "open/link");
  scene.expect_won_and_lost([](const Place& place) { return place / "open/link"; });
}

TEST(Alias, RelativeSymbolicLinkInADirectoryThatIsALink) {
  Aliases scene;
  make_link("../denied/s", scene.place / "open/link");
  make_link("open", scene.place / "way");
  scene.expect_won_and_lost([](const Place& place) { return place / "way/./link"; });
}

TEST(Alias, DotDot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return place / "open/../denied//s"; });
}

TEST(Alias, HardLink) {
  Aliases scene;
  ASSERT_EQ(::link(scene.denied.c_str(), (scene.place / "open/s").c_str()), 0);
  scene.expect_won_and_lost([](const Place& place) { return place / "open/s"; });
}

class BindMount {
 public:
  BindMount(const std::string& from, std::string to) : to_(std::move(to)) {
    mounted_ = ::mount(from.c_str(), to_.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  ~BindMount() {
    if (mounted_) ::umount2(to_.c_str(), MNT_DETACH);
  }
  [[nodiscard]] bool mounted() const { return mounted_; }

 private:
  std::string to_;
  bool mounted_;
};

TEST(Alias, BindMountOfTheDirectory) {
  Aliases scene;
  make_directory(scene.place / "mount");
  BindMount mount(scene.place / "denied", scene.place / "mount");
  if (!mount.mounted()) GTEST_SKIP() << "no mounts here";
  scene.expect_won_and_lost([](const Place& place) { return place / "mount/s"; });
}

TEST(Alias, BindMountOfTheSocket) {
  Aliases scene;
  UniqueFd file(::open((scene.place / "open/s").c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0644));
  BindMount mount(scene.denied, scene.place / "open/s");
  if (!mount.mounted()) GTEST_SKIP() << "no mounts here";
  scene.expect_won_and_lost([](const Place& place) { return place / "open/s"; });
}

TEST(Alias, ProcSelfRoot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return "/proc/self/root" + (place / "denied/s"); });
}

TEST(Alias, ProcThreadSelfRoot) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) { return "/proc/thread-self/root" + (place / "denied/s"); });
}

TEST(Alias, ProcOwnPidRoot) {
  Aliases scene;
  scene.expect_won_and_lost(
      [](const Place& place) { return "/proc/" + std::to_string(::getpid()) + "/root" + (place / "denied/s"); });
}

TEST(Alias, ProcOwnTaskCwd) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "denied").c_str()) < 0) ::_exit(1);
    return "/proc/self/task/" + std::to_string(::gettid()) + "/cwd/s";
  });
}

TEST(Alias, ProcSelfDescriptorOfTheSocket) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    int fd = ::open((place / "denied/s").c_str(), O_PATH);
    return "/proc/self/fd/" + std::to_string(fd);
  });
}

TEST(Alias, DevFdOfTheDirectory) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    int fd = ::open((place / "denied").c_str(), O_PATH | O_DIRECTORY);
    return "/dev/fd/" + std::to_string(fd) + "/s";
  });
}

TEST(Alias, RelativeName) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "denied").c_str()) < 0) ::_exit(1);
    return std::string("s");
  });
}

TEST(Alias, RelativeNameThatClimbs) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    if (::chdir((place / "open").c_str()) < 0) ::_exit(1);
    return std::string("../denied/s");
  });
}

TEST(Alias, DirectoryOfASiblingProcess) {
  Aliases scene;
  scene.expect_won_and_lost([](const Place& place) {
    int ready[2];
    if (::pipe(ready) < 0) ::_exit(1);
    pid_t sibling = ::fork();
    if (sibling == 0) {
      if (::chdir((place / "denied").c_str()) < 0 || ::write(ready[1], "r", 1) != 1) ::_exit(1);
      ::pause();
      ::_exit(0);
    }
    char byte;
    if (::read(ready[0], &byte, 1) != 1) ::_exit(1);
    // The sibling stays until this process ends, which takes its way into /proc along.
    std::atexit([] {});
    std::thread([sibling] {
      ::prctl(PR_SET_NAME, "reaper");
      // Long after the connection was tried.
      while (::getppid() == 0) {
      }
      (void)sibling;
    }).join();
    static pid_t to_kill;
    to_kill = sibling;
    return "/proc/" + std::to_string(to_kill) + "/cwd/s";
  });
}

}  // namespace
}  // namespace wrapd::attack
