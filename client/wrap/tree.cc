// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/tree.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrap/deadline.h"
#include "kernel/process_table.h"

namespace wrapd::client {
namespace {

using kernel::Process;

constexpr size_t kMaxChildren = 1 << 20;  // bytes of a list of children
constexpr uint64_t kHidden = 0;           // start time of a child that /proc does not show; nobody else's

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

UniqueFd open_proc() {
  return UniqueFd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Without those that have exited.
std::vector<Process> find_descendants(int proc, const kernel::Bystanders& bystanders) {
  std::vector<Process> all = kernel::list_processes(proc);
  std::set<pid_t> seen;
  for (const Process& process : all) seen.insert(process.pid);
  for (pid_t pid : own_children()) {
    if (!seen.contains(pid)) all.push_back({.pid = pid, .parent = ::getpid(), .start = kHidden});
  }
  bystanders.leave_out(all);
  std::vector<Process> found = kernel::descendants(all, std::array{::getpid()});
  std::erase_if(found, [&](const Process& process) { return bystanders.has(proc, process); });
  return found;
}

// A hidden one is our own child: nobody but us reaps it, so its number is its own.
void signal_all(int proc, const std::vector<Process>& processes, int signal) {
  for (const Process& process : processes) {
    if (process.start != kHidden) {
      kernel::signal_process(proc, process, signal);
      continue;
    }
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    const std::vector<pid_t> ours = own_children();
    if (pidfd && std::ranges::find(ours, process.pid) != ours.end()) {
      ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
    }
  }
}

// Reaps the children that have ended. True if this process has no children any more.
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

kernel::Bystanders bystanders_here(bool filtered) {
  const UniqueFd proc = open_proc();
  kernel::Bystanders bystanders(proc.get(), ::getpid(), 0);
  if (!bystanders.any()) return bystanders;
  auto filters = kernel::seccomp_filters(proc.get(), ::getpid());
  if (filters && filtered) ++*filters;
  bystanders.members_have(filters);
  return bystanders;
}

size_t kill_descendants(std::chrono::milliseconds timeout, const kernel::Bystanders& bystanders) {
  const auto deadline = Clock::now() + timeout;
  const UniqueFd proc = open_proc();
  for (;;) {
    std::vector<Process> found = kernel::stop_until_quiet(1, deadline, [&] {
      kernel::StoppingLook look{.found = find_descendants(proc.get(), bystanders)};
      signal_all(proc.get(), look.found, SIGSTOP);
      return look;
    });
    signal_all(proc.get(), found, SIGKILL);
    // Where there is no /proc the children that are left cannot even be counted; there are no bystanders then.
    const bool alone = reap_all() || bystanders.any();
    found = find_descendants(proc.get(), bystanders);
    if (alone && found.empty()) {
      (void)reap_all();  // those that ended after the last time
      return 0;
    }
    if (Clock::now() >= deadline) return std::max<size_t>(found.size(), alone ? 0 : 1);
    await_child(std::chrono::milliseconds(20));
  }
}

}  // namespace wrapd::client
