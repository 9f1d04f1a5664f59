// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/session_tree.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>

namespace wrapd::supervisor {
namespace {

constexpr size_t kMaxCallers = 4096;
constexpr int kQuietLooks = 8;

}  // namespace

void SessionTree::adopt(pid_t client, int leader) {
  std::array<char, 48> name;
  std::snprintf(name.data(), name.size(), "self/fdinfo/%d", leader);
  auto number = kernel::number_in(proc_, name.data(), "Pid:");
  if (!number || *number <= 0 || client <= 0) return;  // ended already, or of another pid namespace
  const auto pid = static_cast<pid_t>(*number);
  auto before = kernel::read_process(proc_, pid);
  auto parent = kernel::read_process(proc_, client);
  auto after = kernel::read_process(proc_, pid);
  if (!before || !parent || !after || !before->is(*after) || before->uid != uid_) return;
  if (before->parent != client || after->parent != client) return;
  // The pidfd still names that number: it was not another process's while we looked.
  if (kernel::number_in(proc_, name.data(), "Pid:") != number) return;
  kernel::Bystanders bystanders(proc_, client, pid);
  if (bystanders.any()) bystanders.members_have(kernel::seccomp_filters(proc_, pid));
  std::lock_guard lock(lock_);
  client_ = *parent;
  bystanders_ = std::move(bystanders);
  remember(*before);
}

void SessionTree::saw(const Notification& call, kernel::TrapSource& source) {
  const pid_t tid = call.tid;
  if (tid <= 0) return;
  std::lock_guard lock(lock_);
  if (tid == last_) return;
  last_ = tid;
  if (callers_.size() >= kMaxCallers) callers_.clear();
  if (!callers_.insert(tid).second) return;
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "%d/status", tid);
  auto group = kernel::number_in(proc_, name.data(), "Tgid:");
  auto process = group ? kernel::read_process(proc_, static_cast<pid_t>(*group)) : std::nullopt;
  // Read by number: it counts only if the task is still in this call.
  if (process && process->uid == uid_ && source.valid(call.id)) remember(*process);
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
  std::vector<kernel::Process> all = kernel::list_processes(proc_);
  std::lock_guard lock(lock_);
  bystanders_.leave_out(all);
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
  std::erase_if(found, [&](const kernel::Process& process) { return !may_be_ended(process); });
  return found;
}

bool SessionTree::may_be_ended(const kernel::Process& process) const {
  return process.uid == uid_ && process.pid != ::getpid() && process.pid != 1 && !(client_ && process.is(*client_)) &&
         !bystanders_.has(proc_, process);
}

// Signals while it looks. A process that forks and exits all the time is another one before a list is complete; here it
// is stopped as soon as it is read. `found` was read just before: its members are stopped, and still have their
// numbers.
size_t SessionTree::signal_found(int signal, std::span<const kernel::Process> found) {
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
    if ((!known && !beneath.contains(process.parent)) || !may_be_ended(process)) return;
    beneath.insert(process.pid);
    if (process.exited()) return;
    if (!known && kernel::signal_process(proc_, process, signal)) ++signalled;
    std::lock_guard lock(lock_);
    remember(process);
  });
  return signalled;
}

// A look can miss a process whose parent ended while it was taken: the list then has neither its old parent nor its new
// one. Such a one is beneath `wrap` at the next look.
void SessionTree::remember_descendants() {
  std::set<Identity> seen;
  for (int look = 0; look < kQuietLooks; ++look) {
    bool found_new = false;
    const std::vector<kernel::Process> found = find();
    for (const kernel::Process& process : found) found_new |= seen.emplace(process.pid, process.start).second;
    if (!found_new) return;
    std::lock_guard lock(lock_);
    for (const kernel::Process& process : found) remember(process);
  }
}

size_t SessionTree::kill_all(Clock::time_point deadline) {
  // What forks and exits all the time is missed by most looks: one that finds nothing new says little.
  (void)kernel::stop_until_quiet(kQuietLooks, deadline, [&] {
    std::vector<kernel::Process> found = find();
    for (const kernel::Process& process : found) {
      // One that is gone by now will not be found again, and one that may not be signalled is none of the tree's.
      (void)kernel::signal_process(proc_, process, SIGSTOP);
    }
    {
      // Their children are the tree's, also when they are gone and `wrap` is.
      std::lock_guard lock(lock_);
      for (const kernel::Process& process : found) remember(process);
    }
    const bool more = signal_found(SIGSTOP, found) > 0;
    return kernel::StoppingLook{.found = std::move(found), .more = more};
  });
  const std::vector<kernel::Process> found = find();
  for (const kernel::Process& process : found) (void)kernel::signal_process(proc_, process, SIGKILL);
  return found.size();
}

void SessionTree::signal_client(int signal) const {
  if (client_ && client_->uid == uid_) (void)kernel::signal_process(proc_, *client_, signal);
}

}  // namespace wrapd::supervisor
