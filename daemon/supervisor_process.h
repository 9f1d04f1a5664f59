// SPDX-License-Identifier: Apache-2.0
#pragma once

// A wrap-supervisor: spawned (vfork and exec, never a fork that goes on), with the other end of a SOCK_SEQPACKET pair
// as descriptor 3, /dev/null as 0 and 1, our stderr, nothing else, an empty environment and no blocked signals.

#include <spawn.h>
#include <sys/types.h>

#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "wire/supervisor_config.h"

namespace wrapd::daemon {

inline constexpr int kSupervisorChannel = 3;

struct SupervisorProcess {
  pid_t pid = 0;  // for the record only; the pidfd is what counts
  UniqueFd pidfd;
  UniqueFd channel;  // our end; non-blocking

  // Starts `program`, which waits for its configuration and ends when `channel` is closed without one.
  [[nodiscard]] static Result<SupervisorProcess> spawn(const std::string& program);
  // `fds` in the order of wire::ConfigFd.
  [[nodiscard]] Result<> configure(const wire::SupervisorConfig& config, std::span<const int> fds) const;
};

// A child and its pidfd.
struct ChildProcess {
  pid_t pid = 0;
  UniqueFd pidfd;
};
// Starts `program` (vfork and exec) with an empty environment, no blocked signals and every signal at its default. It
// has our standard streams, unless `files` changes that: what else we hold is close-on-exec. `files` returns zero or an
// errno value.
[[nodiscard]] Result<ChildProcess> spawn_child(const std::string& program, std::span<std::string> words,
                                               const std::function<int(posix_spawn_file_actions_t*)>& files);

// The system user whose ids a supervisor keeps as real and saved. Nobody, or root, is an error.
struct SupervisorIds {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
};
[[nodiscard]] Result<SupervisorIds> find_supervisor_ids(const std::string& user);

// How a process behind a pidfd ended, for people: "exited with status 1", "was killed by signal 9". Reaps it. EAGAIN if
// it still runs; ECHILD if it is not our child (an earlier run of the service started it): then only its pidfd tells
// that it has ended.
[[nodiscard]] Result<std::string> reap(int pidfd);

[[nodiscard]] Result<> kill_process(int pidfd);

// For a child that dies at once: waits for it.
[[nodiscard]] Result<> kill_and_reap(int pidfd);

}  // namespace wrapd::daemon
