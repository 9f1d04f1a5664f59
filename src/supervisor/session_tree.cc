// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session_tree.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/io.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kMaxCallers = 4096;
constexpr size_t kMaxStatus = 16384;
constexpr int kQuietLooks = 8;

// The number behind "KEY:" in a file like /proc/PID/status or /proc/self/fdinfo/N.
std::optional<pid_t> number_in(int proc, const char* name, std::string_view key) {
  UniqueFd fd(::openat(proc, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  auto text = read_all(fd.get(), kMaxStatus);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    while (line.starts_with('\t') || line.starts_with(' ')) line.remove_prefix(1);
    pid_t value = 0;
    auto [at, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || at != line.data() + line.size()) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

}  // namespace

void SessionTree::adopt(pid_t client, int leader) {
  std::array<char, 48> name;
  std::snprintf(name.data(), name.size(), "self/fdinfo/%d", leader);
  auto pid = number_in(proc_, name.data(), "Pid:");
  if (!pid || *pid <= 0 || client <= 0) return;  // ended already, or of another pid namespace
  auto before = kernel::read_process(proc_, *pid);
  auto parent = kernel::read_process(proc_, client);
  auto after = kernel::read_process(proc_, *pid);
  if (!before || !parent || !after || !before->is(*after) || before->uid != uid_) return;
  if (before->parent != client || after->parent != client) return;
  // The pidfd still names that number: it was not another process's while we looked.
  if (number_in(proc_, name.data(), "Pid:") != pid) return;
  std::lock_guard lock(lock_);
  client_ = *parent;
  remember(*before);
}

void SessionTree::saw(const Notification& call, kernel::Kernel& kernel) {
  const pid_t tid = call.tid;
  if (tid <= 0) return;
  std::lock_guard lock(lock_);
  if (tid == last_) return;
  last_ = tid;
  if (callers_.size() >= kMaxCallers) callers_.clear();
  if (!callers_.insert(tid).second) return;
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "%d/status", tid);
  auto group = number_in(proc_, name.data(), "Tgid:");
  auto process = group ? kernel::read_process(proc_, *group) : std::nullopt;
  // Read by number: it counts only if the task is still in this call.
  if (process && process->uid == uid_ && kernel.valid(call.id)) remember(*process);
}

void SessionTree::remember(const kernel::Process& process) {
  // A full list is one of the dead for the most part.
  if (known_.size() >= kMaxKnown) {
    std::erase_if(known_, [&](const Identity& known) {
      auto now = kernel::read_process(proc_, known.first);
      return !now || now->start != known.second;
    });
  }
  if (known_.size() < kMaxKnown) known_.emplace(process.pid, process.start);
}

std::vector<kernel::Process> SessionTree::find() {
  const std::vector<kernel::Process> all = kernel::list_processes(proc_);
  std::lock_guard lock(lock_);
  std::vector<kernel::Process> found;
  std::vector<pid_t> ancestors;
  for (const kernel::Process& process : all) {
    bool known = known_.contains({process.pid, process.start});
    if (known || (client_ && process.is(*client_))) ancestors.push_back(process.pid);
    if (known && !process.exited()) found.push_back(process);
  }
  std::set<pid_t> listed(ancestors.begin(), ancestors.end());
  for (const kernel::Process& process : kernel::descendants(all, ancestors)) {
    if (listed.insert(process.pid).second) found.push_back(process);
  }
  std::erase_if(found, [&](const kernel::Process& process) { return !is_prey(process); });
  return found;
}

bool SessionTree::is_prey(const kernel::Process& process) const {
  return process.uid == uid_ && process.pid != ::getpid() && process.pid != 1 && !(client_ && process.is(*client_));
}

// Signals while it looks. A process that forks and exits all the time is another one before a list is complete; here it
// is stopped as soon as it is read. `found` was read just before: its members are stopped, and still have their
// numbers.
size_t SessionTree::hunt(int signal, std::span<const kernel::Process> found) {
  std::set<pid_t> beneath;
  for (const kernel::Process& process : found) beneath.insert(process.pid);
  // Numbers go round: a child's may be smaller than the client's.
  if (client_) {
    auto client = kernel::read_process(proc_, client_->pid);
    if (client && client->is(*client_)) beneath.insert(client->pid);
  }
  size_t signalled = 0;
  kernel::for_each_process(proc_, [&](const kernel::Process& process) {
    bool known = false;
    {
      std::lock_guard lock(lock_);
      known = known_.contains({process.pid, process.start});
    }
    if ((!known && !beneath.contains(process.parent)) || !is_prey(process)) return;
    beneath.insert(process.pid);
    if (process.exited()) return;
    if (!known && kernel::signal_process(proc_, process, signal)) ++signalled;
    std::lock_guard lock(lock_);
    remember(process);
  });
  return signalled;
}

void SessionTree::remember_descendants() {
  const std::vector<kernel::Process> found = find();
  std::lock_guard lock(lock_);
  for (const kernel::Process& process : found) remember(process);
}

size_t SessionTree::kill_all(Clock::time_point deadline) {
  std::vector<kernel::Process> found;
  std::set<Identity> stopped;
  // What forks and exits all the time is missed by most looks: one that finds nothing new says little.
  for (int quiet = 0; quiet < kQuietLooks;) {
    found = find();
    bool found_new = false;
    for (const kernel::Process& process : found) {
      found_new |= stopped.emplace(process.pid, process.start).second;
      // One that is gone by now will not be found again, and one that may not be signalled is none of the tree's.
      (void)kernel::signal_process(proc_, process, SIGSTOP);
    }
    {
      // Their children are the tree's, also when they are gone and `wrap` is.
      std::lock_guard lock(lock_);
      for (const kernel::Process& process : found) remember(process);
    }
    found_new |= hunt(SIGSTOP, found) > 0;
    quiet = found_new ? 0 : quiet + 1;
    if (Clock::now() >= deadline) break;
  }
  found = find();
  for (const kernel::Process& process : found) (void)kernel::signal_process(proc_, process, SIGKILL);
  return found.size();
}

void SessionTree::signal_client(int signal) const {
  if (client_ && client_->uid == uid_) (void)kernel::signal_process(proc_, *client_, signal);
}

}  // namespace wrapd::supervisor
