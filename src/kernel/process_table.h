// SPDX-License-Identifier: Apache-2.0
#pragma once

// Processes as a procfs shows them (proc_pid_stat(5)), to end those of a session. A number alone names nobody for long:
// a process is its number with its start time.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::kernel {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = 0;
  long threads = 0;
  uint64_t start = 0;                  // clock ticks since boot
  uid_t uid = static_cast<uid_t>(-1);  // effective; of list_processes() and read_process(), also if not dumpable

  // A process whose first thread alone has ended looks like a zombie, and runs on.
  [[nodiscard]] bool exited() const { return state == 'X' || (state == 'Z' && threads <= 1); }
  [[nodiscard]] bool is(const Process& other) const { return pid == other.pid && start == other.start; }
};

// `proc` is a descriptor of a procfs's root directory (O_PATH will do). Nothing if there is no such process, or if it
// is hidden (hidepid=) from the calling thread.
[[nodiscard]] std::optional<Process> read_process(int proc, pid_t pid);

// Now, in the unit of Process::start and rounded down as that is: of two instants the later never seems the earlier.
[[nodiscard]] uint64_t ticks_since_boot();

// A pidfd of the process `pid` that has not started after `latest_start`: who only knows that a number was somebody's
// at that time does not get another's. Errors: ESRCH there is no such process, EPERM it started later, others: it
// cannot be looked at.
[[nodiscard]] Result<UniqueFd> open_process(int proc, pid_t pid, uint64_t latest_start);

// Calls `visit` for each process that is shown, right after it was read, in the order of their numbers.
void for_each_process(int proc, const std::function<void(const Process&)>& visit);

// All that are shown; what ends meanwhile may be missing, and what begins.
[[nodiscard]] std::vector<Process> list_processes(int proc);

// Those of `all` that live beneath one of `ancestors`, themselves not counted unless one is beneath another; exited
// ones are looked through and left out.
[[nodiscard]] std::vector<Process> descendants(std::span<const Process> all, std::span<const pid_t> ancestors);

// The number behind KEY (with its ':') in a file like PID/status or self/fdinfo/N.
[[nodiscard]] std::optional<int64_t> number_in(int proc, const char* file, std::string_view key);

// How many seccomp filters the process's first thread has (proc_pid_status(5)): all that its parent had at its birth,
// and none is ever lost.
[[nodiscard]] std::optional<int64_t> seccomp_filters(int proc, pid_t pid);

// Sends `signal` by pidfd, and only if the number still is that process. False if it is gone or may not be signalled.
bool signal_process(int proc, const Process& process, int signal);

// A look at a tree that stopped what it found. `more`: it also met others that are not in `found`.
struct StoppingLook {
  std::vector<Process> found;
  bool more = false;
};
// Looks until `quiet` looks in a row have found nobody new, or `deadline` is over; once at the least. What a stopped
// tree has is all there, and can be killed without anybody forking meanwhile. Returns what the last look found.
[[nodiscard]] std::vector<Process> stop_until_quiet(int quiet, std::chrono::steady_clock::time_point deadline,
                                                    const std::function<StoppingLook()>& look);

}  // namespace wrapd::kernel
