// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrap/deadline.h"

namespace wrapd::client {
namespace {

constexpr size_t kMaxChildren = 1 << 20;  // bytes of a list of children

struct ProcStat {
  char state = 0;
  pid_t parent = 0;
  long threads = 0;
};

// proc_pid_stat(5). The name in parentheses is the program's own choice: fields are counted from the last ')'.
std::optional<ProcStat> read_stat(pid_t pid) {
  UniqueFd fd(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  char buffer[1024];
  ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  if (n <= 0) return std::nullopt;
  std::string_view text(buffer, static_cast<size_t>(n));
  size_t end = text.rfind(')');
  if (end == std::string_view::npos || end + 4 >= text.size()) return std::nullopt;
  ProcStat stat;
  stat.state = text[end + 2];
  text.remove_prefix(end + 4);
  if (std::from_chars(text.data(), text.data() + text.size(), stat.parent).ec != std::errc()) return std::nullopt;
  constexpr int kFromParentToThreads = 16;  // field 4 to field 20
  for (int i = 0; i < kFromParentToThreads; ++i) {
    size_t space = text.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    text.remove_prefix(space + 1);
  }
  if (std::from_chars(text.data(), text.data() + text.size(), stat.threads).ec != std::errc()) return std::nullopt;
  return stat;
}

// A process whose first thread alone has ended looks like a zombie, and runs on.
bool exited(const ProcStat& stat) {
  return stat.state == 'X' || (stat.state == 'Z' && stat.threads <= 1);
}

// Our own children, also those that a /proc mounted with hidepid= hides because they are not dumpable. What such a
// child leaves behind becomes ours when it ends, so pass by pass nothing stays hidden.
std::vector<pid_t> own_children() {
  std::vector<pid_t> pids;
  auto list = read_file("/proc/self/task/" + std::to_string(::getpid()) + "/children", kMaxChildren);
  if (!list) return pids;  // a kernel without CONFIG_PROC_CHILDREN
  const char* at = list->data();
  const char* end = at + list->size();
  for (pid_t pid = 0;; pids.push_back(pid)) {
    while (at != end && *at == ' ') ++at;
    auto [next, error] = std::from_chars(at, end, pid);
    if (error != std::errc()) return pids;
    at = next;
  }
}

// Sends by pidfd, and only if `pid` is then still the child of who was its parent in the scan or of us: a number that
// was given away in between is left alone. Nobody but us reaps our own children, so their numbers are theirs.
void signal_all(const std::vector<pid_t>& pids, int signal) {
  std::set<pid_t> parents(pids.begin(), pids.end());
  parents.insert(::getpid());
  const std::vector<pid_t> listed = own_children();
  const std::set<pid_t> ours(listed.begin(), listed.end());
  for (pid_t pid : pids) {
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) continue;
    auto stat = read_stat(pid);
    bool seen = stat && !exited(*stat) && parents.contains(stat->parent);
    if (seen || ours.contains(pid)) ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
  }
}

// Reaps what has ended. True if this process has no children any more.
bool reap_all() {
  for (;;) {
    pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return pid < 0 && errno == ECHILD;
  }
}

// Waits until a child has ended, or for `limit`.
void await_child(std::chrono::milliseconds limit) {
  sigset_t child;
  sigset_t before;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, &before);
  siginfo_t info{};
  bool ended = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  timespec timeout{limit.count() / 1000, (limit.count() % 1000) * 1000000};
  if (!ended) static_cast<void>(::sigtimedwait(&child, nullptr, &timeout));  // EAGAIN and EINTR: look again
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

std::vector<pid_t> descendants_of(pid_t ancestor) {
  std::unordered_multimap<pid_t, pid_t> children;
  std::set<pid_t> gone;
  std::set<pid_t> seen;
  std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return {};
  while (const dirent* entry = ::readdir(proc.get())) {
    std::string_view name = entry->d_name;
    pid_t pid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    auto stat = read_stat(pid);
    if (!stat) continue;
    children.emplace(stat->parent, pid);
    if (exited(*stat)) gone.insert(pid);
    seen.insert(pid);
  }
  if (ancestor == ::getpid()) {
    for (pid_t pid : own_children()) {
      if (!seen.contains(pid)) children.emplace(ancestor, pid);
    }
  }
  std::vector<pid_t> queue{ancestor};
  for (size_t i = 0; i < queue.size(); ++i) {
    auto [first, last] = children.equal_range(queue[i]);
    for (auto it = first; it != last; ++it) queue.push_back(it->second);
  }
  queue.erase(queue.begin());
  std::erase_if(queue, [&](pid_t pid) { return gone.contains(pid); });
  return queue;
}

size_t kill_descendants(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    std::set<pid_t> stopped;
    std::vector<pid_t> pids;
    for (bool found_new = true; found_new && Clock::now() < deadline;) {
      pids = descendants_of(::getpid());
      found_new = false;
      for (pid_t pid : pids) found_new |= stopped.insert(pid).second;
      signal_all(pids, SIGSTOP);
    }
    signal_all(pids, SIGKILL);
    bool childless = reap_all();
    if (childless && descendants_of(::getpid()).empty()) return 0;
    // Where there is no /proc the children that are left cannot even be counted.
    if (Clock::now() >= deadline) return std::max<size_t>(descendants_of(::getpid()).size(), childless ? 0 : 1);
    await_child(std::chrono::milliseconds(20));
  }
}

}  // namespace wrapd::client
