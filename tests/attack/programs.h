// SPDX-License-Identifier: Apache-2.0
#pragma once

// What programs under test do, and how they tell of it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "arena.h"

namespace wrapd::attack {

inline constexpr uid_t kOtherUid = 64018;
inline constexpr size_t kMaxName = sizeof(sockaddr_un::sun_path);

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

inline std::string outcome(long rc) {
  if (rc >= 0) return "ok";
  const char* name = ::strerrorname_np(errno);
  return name != nullptr ? name : "errno " + std::to_string(errno);
}

using Program = std::function<void(const Place& place, Story& story)>;
using Rules = std::function<std::vector<Rule>(const Place& place)>;

// Whatever goes wrong, a program under test ends.
inline void limit_own_life() {
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMAX;
  timer_t timer;
  itimerspec end{.it_interval = {}, .it_value = {.tv_sec = 120, .tv_nsec = 0}};
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 || ::timer_settime(timer, 0, &end, nullptr) < 0) ::_exit(77);
}

inline int run_natively(const Place& place, Story& story, const Program& program) {
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

inline Result run_wrapped(const Place& place, Story& story, const std::vector<Rule>& rules, const Program& program,
                          const MakeHandler& handler = ours(), plan::TrapSet traps = plan::kUnixSocketTraps) {
  return fight(
      rules, handler,
      [&] {
        limit_own_life();
        program(place, story);
        return 0;
      },
      traps);
}

// Runs `program` in two places that `set_up` made alike.
inline void expect_same_story(const std::function<void(const Place&)>& set_up, const Rules& rules,
                              const Program& program, plan::TrapSet traps = plan::kUnixSocketTraps) {
  std::string stories[2];
  for (int wrapped : {0, 1}) {
    Place place;
    if (set_up) set_up(place);
    Story story;
    if (wrapped != 0) {
      EXPECT_EQ(run_wrapped(place, story, rules(place), program, ours(), traps).exit_status, 0);
    } else {
      EXPECT_EQ(run_natively(place, story, program), 0);
    }
    std::string text = story.all();
    for (size_t at; (at = text.find(place.path())) != std::string::npos;)
      text.replace(at, place.path().size(), "PLACE");
    stories[wrapped] = text;
  }
  EXPECT_GT(stories[0].size(), 0U);
  // Only what differs: the stories are long.
  std::istringstream native(stories[0]), wrapped(stories[1]);
  for (std::string without, with;;) {
    bool first = static_cast<bool>(std::getline(native, without)),
         second = static_cast<bool>(std::getline(wrapped, with));
    if (!first && !second) break;
    EXPECT_EQ(first ? without : "(nothing)", second ? with : "(nothing)") << "first without, then with us";
    if (!first || !second) break;
  }
}

inline std::vector<Rule> allow_everything(const Place&) {
  return {{{"/**", "@**"}, policy::Verdict::allow}};
}

// ---------------------------------------------------------------------------------------------------------------------
// What programs do.

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// `bytes` are all that follows the family.
inline Address unix_address(const std::string& bytes) {
  Address address;
  address.storage.ss_family = AF_UNIX;
  std::memcpy(reinterpret_cast<char*>(&address.storage) + offsetof(sockaddr_un, sun_path), bytes.data(), bytes.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes.size());
  return address;
}

inline int unix_socket(int type = SOCK_STREAM) {
  return ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

inline std::string connect_to(const Address& address, int type = SOCK_STREAM) {
  UniqueFd fd(unix_socket(type));
  return outcome(::connect(fd.get(), address.get(), address.length));
}
inline std::string connect_to(const std::string& path) {
  return connect_to(unix_address(path));
}

inline std::string bind_to(const Address& address) {
  UniqueFd fd(unix_socket());
  return outcome(::bind(fd.get(), address.get(), address.length));
}
inline std::string bind_to(const std::string& path) {
  return bind_to(unix_address(path));
}

inline std::string name_of(int fd, bool peer = false) {
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

inline void make_directory(const std::string& path, mode_t mode = 0755, uid_t owner = kAttacker) {
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0) << path;
  ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  ASSERT_EQ(::chown(path.c_str(), owner, owner), 0);
}

inline void make_link(const std::string& target, const std::string& path) {
  ASSERT_EQ(::symlink(target.c_str(), path.c_str()), 0) << path;
  ASSERT_EQ(::lchown(path.c_str(), kAttacker, kAttacker), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// What programs and tests wait for.

// False if it does not come to be so in time.
template <class Condition>
[[nodiscard]] bool wait_until(Condition so) {
  for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20); !so(); ::usleep(1000)) {
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

// As the kernel tells it. False, too, if there is no such task.
inline bool is_connecting(pid_t process, pid_t task) {
  std::ifstream file("/proc/" + std::to_string(process) + "/task/" + std::to_string(task) + "/syscall");
  long number = -1;
  return static_cast<bool>(file >> number) && number == SYS_connect;
}

// For programs under test, which end where it does not come to be so.
inline void must_be_connecting(pid_t process, pid_t task) {
  if (!wait_until([&] { return is_connecting(process, task); })) ::_exit(96);
}
inline void must_be_connecting(pid_t process) {
  must_be_connecting(process, process);
}

// How many threads of the supervisor are in connect(2): it is a child of the test, as the program is. Nothing natively.
inline std::optional<size_t> supervisor_connecting() {
  size_t processes = 0, count = 0;
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  for (pid_t child; children >> child; ++processes) {
    std::error_code gone;
    std::filesystem::directory_iterator tasks("/proc/" + std::to_string(child) + "/task", gone);
    for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) {
      count += is_connecting(child, std::stoi(tasks->path().filename())) ? 1U : 0U;
    }
  }
  if (processes < 2) return std::nullopt;
  return count;
}

// The program stops where it says so, until the test outside has done its part.
class Turns {
 public:
  Turns() {
    if (::pipe2(there_, O_CLOEXEC) < 0 || ::pipe2(back_, O_CLOEXEC) < 0) std::abort();
  }
  ~Turns() {
    for (int fd : {there_[0], there_[1], back_[0], back_[1]}) ::close(fd);
  }
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;
  void let_outside_act() const {
    char byte = 0;
    if (::write(there_[1], "x", 1) != 1 || ::read(back_[0], &byte, 1) != 1) ::_exit(1);
  }
  // False once end() was called.
  bool act(const std::function<void()>& what) const {
    char byte = 0;
    if (::read(there_[0], &byte, 1) != 1 || byte != 'x') return false;
    what();
    return ::write(back_[1], "x", 1) == 1;
  }
  void end() const { (void)!::write(there_[1], "e", 1); }

 private:
  int there_[2];
  int back_[2];
};

// A mount that lasts as long as a test.
class Mounted {
 public:
  Mounted(const std::string& from, std::string to) : to_(std::move(to)) {
    mounted_ = ::mount(from.c_str(), to_.c_str(), nullptr, MS_BIND, nullptr) == 0;
  }
  ~Mounted() {
    if (mounted_) ::umount2(to_.c_str(), MNT_DETACH);
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  explicit operator bool() const { return mounted_; }

 private:
  std::string to_;
  bool mounted_;
};

// A denied socket in a directory of its own, everything else allowed.
struct DeniedSocket {
  Place place;
  std::string name;
  std::unique_ptr<Server> server;
  DeniedSocket() {
    make_directory(place / "kept");
    make_directory(place / "open");
    name = place / "kept/s";
    server = std::make_unique<Server>(name);
  }
  [[nodiscard]] std::vector<Rule> rules() const {
    return {{{name}, policy::Verdict::deny}, {{"/**", "@**"}, policy::Verdict::allow}};
  }
};

}  // namespace wrapd::attack
