// SPDX-License-Identifier: Apache-2.0

// What is allowed is as it is without us: a few thousand random calls that make, move and use names and sockets are
// made by a program without a filter, and by the same program under a policy that allows everything. Results, errors,
// names of sockets and what lies on disk at the end must be the same. WRAPD_TEST_SEED repeats a run.

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "arena.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

constexpr int kDirectory = 700;  // numbers of descriptors that nothing else gets
constexpr int kObject = 710;
constexpr int kObjects = 4;

class Calls {
 public:
  Calls(const Place& place, Story& story, unsigned seed) : story_(story), random_(seed), base_(place / "in") {
    if (::chdir(base_.c_str()) < 0) ::_exit(1);
    ::umask(022);
    sockets_.fill(-1);
  }

  void make(int count) {
    for (number_ = 0; number_ < count; ++number_) one();
    // What is left behind: objects, and who answers there.
    story_.tell("left", "");
    list(base_, 0);
  }

 private:
  size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  bool once_in(size_t n) { return below(n) == 0; }

  std::string plain() {
    std::string path = std::array{"a", "b", "c", "d"}[below(4)];
    for (size_t n = below(3); n > 0; --n) path += std::string("/") + std::array{"a", "b", "c", "l"}[below(4)];
    return path;
  }
  // Nothing leads above the place: a path climbs once at most, and links do not.
  std::string without_climbing() {
    for (;;) {
      std::string path = spelled();
      if (path.find("..") == std::string::npos) return path;
    }
  }
  // A name to make or move. Those in the program's own /proc/PID/fd are nobody's, and errors differ there (EPERM for
  // itself, EACCES for all others).
  std::string made() {
    for (;;) {
      std::string path = spelled();
      if (!path.starts_with("/proc/self/fd/71")) return path;
    }
  }
  std::string spelled() {
    std::string path = plain();
    switch (below(24)) {
      case 0:
        return path + "/";
      case 1:
        return path + "/.";
      case 2:
        return path + "/..";
      case 3:
        return "./" + path;
      case 4:
        return path + "/../" + plain();
      case 5:
        return "../in//" + path;
      case 6:
        return path + "//";
      case 7:
        return base_ + "/" + path;
      case 8:
        return "/proc/self/cwd/" + path;
      case 9:
        return "/proc/self/fd/" + std::to_string(kDirectory) + "/" + path;
      case 10:
        return "/dev/fd/" + std::to_string(kDirectory) + "/" + path;
      case 11:
        return "/proc/thread-self/fd/" + std::to_string(kDirectory) + "/" + path;
      case 12:
        return "/proc/self/root" + base_ + "/" + path;
      case 13:
        return "/proc/self/fd/" + std::to_string(kObject + static_cast<int>(below(kObjects)));
      case 14:
        return "/proc/thread-self/cwd/" + path;
      case 15:
        return std::array{".", "..", "/", "", "//", "./."}[below(6)];
      case 16:
        return std::string(below(2) == 0 ? 300 : 5000, 'x');
      default:
        return path;
    }
  }
  int directory() {
    switch (below(8)) {
      case 0:
        return kDirectory;
      case 1:
        return std::array{-1, 999, kObject, kObject + 1, -200}[below(5)];
      default:
        return AT_FDCWD;
    }
  }
  int& socket() { return sockets_[below(sockets_.size())]; }
  static Address address_of(const std::string& path) {
    std::string bytes = path.substr(0, kMaxName);
    return unix_address(bytes);
  }
  // The namespace of abstract names is everybody's.
  std::string abstract() { return std::string(1, '\0') + base_ + std::array{"x", "y", ""}[below(3)]; }

  void tell(const std::string& what, long rc) {
    std::string how = outcome(rc);
    std::string shown = what.size() > 200 ? what.substr(0, 200) : what;
    std::replace(shown.begin(), shown.end(), '\0', '@');
    story_.tell(std::to_string(number_) + " " + shown, how);
  }

  void one() {
    switch (below(26)) {
      case 0:
      case 1:
        return new_socket();
      case 2:
      case 3:
      case 4: {
        std::string path = once_in(8) ? abstract() : spelled();
        Address address = address_of(path);
        if (once_in(20) && path[0] >= 'a') address.length = static_cast<socklen_t>(below(112));
        tell("bind " + path, ::bind(socket(), address.get(), address.length));
        return;
      }
      case 5:
      case 6: {
        std::string path = once_in(8) ? abstract() : spelled();
        Address address = address_of(path);
        tell("connect " + path, ::connect(socket(), address.get(), address.length));
        return;
      }
      case 7:
        return tell("listen", ::listen(socket(), static_cast<int>(below(3))));
      case 8:
        return names();
      case 9:
        return tell_accept();
      case 10:
      case 11: {
        std::string from = made(), to = made();
        unsigned flags = once_in(3) ? static_cast<unsigned>(below(9)) : 0;
        int old_dir = directory(), new_dir = directory();
        return tell("rename " + from + " " + to + " " + std::to_string(flags),
                    ::syscall(SYS_renameat2, old_dir, from.c_str(), new_dir, to.c_str(), flags));
      }
      case 12: {
        std::string from = made(), to = made();
        return tell("rename " + from + " " + to, ::rename(from.c_str(), to.c_str()));
      }
      case 13:
      case 14: {
        std::string from = spelled(), to = made();
        int flags = std::array{0, 0, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, 0}[below(5)];
        int old_dir = directory(), new_dir = directory();
        return tell("link " + from + " " + to + " " + std::to_string(flags),
                    ::linkat(old_dir, from.c_str(), new_dir, to.c_str(), flags));
      }
      case 15: {
        std::string from = spelled(), to = made();
        return tell("link " + from + " " + to, ::link(from.c_str(), to.c_str()));
      }
      case 16:
      case 17: {
        std::string target = once_in(3) ? without_climbing() : plain(), to = once_in(2) ? plain() + "/l" : made();
        return tell("symlink " + target + " " + to, ::symlinkat(target.c_str(), directory(), to.c_str()));
      }
      case 18:
      case 19: {
        std::string path = once_in(4) ? spelled() : plain();
        return tell("mkdir " + path, ::mkdir(path.c_str(), 0755));
      }
      case 20: {
        std::string path = spelled();
        return tell("rmdir " + path, ::rmdir(path.c_str()));
      }
      case 21: {
        std::string path = spelled();
        return tell("unlink " + path, ::unlink(path.c_str()));
      }
      case 22: {
        std::string path = once_in(5) ? plain() + " (deleted)" : plain();
        UniqueFd file(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
        return tell("create " + path, file ? 0 : -1);
      }
      case 23: {
        std::string path = spelled();
        UniqueFd held(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        tell("hold " + path, held ? 0 : -1);
        if (held) ::dup3(held.get(), kObject + static_cast<int>(below(kObjects)), O_CLOEXEC);
        return;
      }
      case 24: {
        std::string path = plain();
        UniqueFd held(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        tell("hold directory " + path, held ? 0 : -1);
        if (held) ::dup3(held.get(), kDirectory, O_CLOEXEC);
        return;
      }
      default: {
        std::string path = plain();
        return tell("chmod " + path, ::chmod(path.c_str(), std::array{0755U, 0755U, 0555U, 0700U}[below(4)]));
      }
    }
  }

  void new_socket() {
    int& fd = socket();
    if (fd >= 0) ::close(fd);
    constexpr int kFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;  // a full backlog answers
    switch (below(10)) {
      case 0:
        fd = ::socket(AF_UNIX, SOCK_SEQPACKET | kFlags, 0);
        return tell("seqpacket", fd);
      case 1:
        fd = ::socket(AF_INET, SOCK_STREAM | kFlags, 0);
        return tell("tcp", fd);
      case 2:
        return netlink(fd);
      default:
        fd = ::socket(AF_UNIX, SOCK_STREAM | kFlags, 0);
        return tell("stream", fd);
    }
  }

  void netlink(int& fd) {
    fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    sockaddr_nl name{};
    name.nl_family = AF_NETLINK;
    if (once_in(4)) name.nl_groups = 1;
    const auto* given = reinterpret_cast<const sockaddr*>(&name);
    tell("netlink", once_in(2) ? ::bind(fd, given, sizeof name) : ::connect(fd, given, sizeof name));
    sockaddr_nl got{};
    socklen_t length = sizeof got;
    tell("netlink name", ::getsockname(fd, reinterpret_cast<sockaddr*>(&got), &length));
    // The first of a process gets its number.
    story_.tell("netlink number", got.nl_pid == static_cast<uint32_t>(::getpid()) ? "own" : "other");
    tell("netlink again", ::bind(fd, given, sizeof name));
  }

  void names() {
    int fd = socket();
    for (bool peer : {false, true}) {
      sockaddr_storage name{};
      socklen_t length = sizeof name;
      int rc = peer ? ::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length)
                    : ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
      tell(peer ? "peer" : "name", rc);
      if (rc == 0 && name.ss_family == AF_UNIX) {
        std::string text = name_of(fd, peer);
        std::replace(text.begin(), text.end(), '\n', ' ');
        if (text.starts_with("[8] \\0")) text = "of the kernel's choice";
        story_.tell("is", text);
      }
    }
    int listening = -1;
    socklen_t size = sizeof listening;
    tell("listens", ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size));
    story_.tell("listens", std::to_string(listening));
  }

  void tell_accept() {
    UniqueFd peer(::accept4(socket(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    tell("accept", peer ? 0 : -1);
    if (!peer) return;
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
      story_.tell("peer is", std::to_string(credentials.uid) + "/" + std::to_string(credentials.gid));
    }
  }

  void list(const std::string& directory, int depth) {
    std::vector<std::string> entries;
    if (DIR* open = ::opendir(directory.c_str()); open != nullptr) {
      while (const dirent* entry = ::readdir(open)) entries.emplace_back(entry->d_name);
      ::closedir(open);
    }
    std::ranges::sort(entries);
    for (const std::string& name : entries) {
      if (name == "." || name == "..") continue;
      std::string path = directory + "/" + name;
      struct stat st {};
      if (::lstat(path.c_str(), &st) < 0) continue;
      std::array<char, 4200> target{};
      if (S_ISLNK(st.st_mode)) (void)::readlink(path.c_str(), target.data(), target.size() - 1);
      std::string what = std::to_string(st.st_mode) + " links " + std::to_string(st.st_nlink) + " uid " +
                         std::to_string(st.st_uid) + " to " + std::string(target.data()).substr(0, 200);
      if (S_ISSOCK(st.st_mode)) what += " answers " + connect_to(path.substr(0, kMaxName));
      story_.tell(path, what);
      if (S_ISDIR(st.st_mode) && depth < 12) list(path, depth + 1);
    }
  }

  Story& story_;
  std::mt19937 random_;
  std::string base_;
  std::array<int, 6> sockets_;
  int number_ = 0;
};

TEST(Differential, RandomCalls) {
  const char* chosen = std::getenv("WRAPD_TEST_SEED");
  const unsigned first = chosen != nullptr ? static_cast<unsigned>(std::strtoul(chosen, nullptr, 10))
                                           : std::random_device()() % 1'000'000'000;
  constexpr unsigned kRuns = 12;
  constexpr int kCalls = 400;
  for (unsigned seed = first; seed < first + kRuns; ++seed) {
    std::printf("WRAPD_TEST_SEED=%u\n", seed);
    SCOPED_TRACE("WRAPD_TEST_SEED=" + std::to_string(seed));
    expect_same_story([](const Place& place) { make_directory(place / "in"); }, allow_everything,
                      [&](const Place& place, Story& story) { Calls(place, story, seed).make(kCalls); }, kAllTraps);
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace wrapd::attack
