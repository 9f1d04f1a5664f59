// SPDX-License-Identifier: Apache-2.0
#pragma once

// Processes that live beneath `wrap` and are none of its session's: a shell's background jobs, if the shell became wrap
// (`job & exec wrap CMD`). Ending the session leaves them alone. Two things tell them from members, and no member can
// make either look otherwise:
//
// * What lived there before CMD did is no member, and neither is what lives beneath it. A process is born to the one
//   that forks it (or to that one's parent), and an orphan goes to an ancestor; a member has no bystander among those.
// * Members inherit the filters of their first process, and a filter cannot be taken off (seccomp(2)). Who has fewer is
//   no member. That is for what a bystander starts later and leaves behind: it comes to wrap, as members' orphans do.
//
// Who is neither is taken for a member.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "kernel/process_table.h"

namespace wrapd::kernel {

class Bystanders {
 public:
  // What is beyond is taken for members.
  static constexpr size_t kMax = 4096;

  Bystanders() = default;  // none
  // What lives beneath `ancestor` now, but for `leader`, the session's first process (0: not born yet), and what lives
  // beneath that. To be called before CMD runs. Cheap where there is nobody. `proc` as for read_process().
  Bystanders(int proc, pid_t ancestor, pid_t leader);

  [[nodiscard]] bool any() const { return !noted_.empty(); }
  // How many seccomp filters the leader has, or will have, when CMD runs; unknown until told.
  void members_have(std::optional<int64_t> filters) { filters_ = filters; }
  // Takes out who was noted: what lives beneath one is not found beneath `ancestor` then.
  void leave_out(std::vector<Process>& all) const;
  // Certainly not a member. `proc` as above: looks only where there were bystanders.
  [[nodiscard]] bool has(int proc, const Process& process) const;

 private:
  [[nodiscard]] bool noted(const Process& process) const { return noted_.contains({process.pid, process.start}); }

  std::set<std::pair<pid_t, uint64_t>> noted_;  // number, start time
  std::optional<int64_t> filters_;
};

}  // namespace wrapd::kernel
