// SPDX-License-Identifier: Apache-2.0
#include "kernel/bystanders.h"

#include <fcntl.h>

#include <array>
#include <string>

#include "base/io.h"
#include "base/unique_fd.h"

namespace wrapd::kernel {
namespace {

// True if `ancestor` has no child but `leader`, and so nobody beneath it but the leader's. A kernel without
// CONFIG_PROC_CHILDREN cannot tell.
bool nobody_else(int proc, pid_t ancestor, pid_t leader) {
  const std::string number = std::to_string(ancestor);
  const UniqueFd list(::openat(proc, (number + "/task/" + number + "/children").c_str(), O_RDONLY | O_CLOEXEC));
  if (!list) return false;
  std::string expected;
  if (leader > 0) expected = std::to_string(leader) + " ";
  // One byte more would be somebody else.
  auto text = read_all(list.get(), expected.size());
  return text && (text->empty() || *text == expected);
}

}  // namespace

Bystanders::Bystanders(int proc, pid_t ancestor, pid_t leader) {
  if (nobody_else(proc, ancestor, leader)) return;
  std::vector<Process> all = list_processes(proc);
  std::erase_if(all, [&](const Process& process) { return process.pid == leader; });
  for (const Process& process : descendants(all, std::array{ancestor})) {
    if (noted_.size() == kMax) return;
    noted_.emplace(process.pid, process.start);
  }
}

void Bystanders::leave_out(std::vector<Process>& all) const {
  if (any()) std::erase_if(all, [&](const Process& process) { return noted(process); });
}

bool Bystanders::has(int proc, const Process& process) const {
  if (!any()) return false;
  if (noted(process)) return true;
  if (!filters_) return false;
  auto filters = seccomp_filters(proc, process.pid);
  return filters && *filters < *filters_;
}

}  // namespace wrapd::kernel
