// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whether a caller may have a brokered session at all. A process that is more confined than PID 1 (no_new_privs, more
// seccomp filters, another user namespace) would gain an unconfined deputy by one. Measured against PID 1 because
// inside a container everybody has the container's filter. What cannot be read is a refusal; what is read is believed
// only because the process behind `pidfd` was alive before and after. Landlock domains are not visible from outside; an
// unprivileged process can enter one only with no_new_privs set, which is.

#include <sys/types.h>

#include <string>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon {

// A client has one thread; a program with more than this is not asked about each of them.
inline constexpr size_t kMaxCallerThreads = 64;

// What the kernel says about confinement in /proc/PID/status.
struct Confinement {
  unsigned no_new_privs = 0;
  unsigned seccomp_filters = 0;
  uid_t effective_uid = static_cast<uid_t>(-1);
  gid_t effective_gid = static_cast<gid_t>(-1);
};
// Parses the text of a status file. A missing field is an error.
[[nodiscard]] Result<Confinement> parse_status(std::string_view status);

// The caller's view of the file system, for its supervisor.
struct CallerPlace {
  pid_t pid = 0;   // whose it is
  UniqueFd root;   // O_PATH of its root directory
  std::string id;  // of root and mount namespace: equal for callers who see the same files
};

// Errors: EPERM the caller is confined, ESRCH it has died, others: something could not be read. All are refusals.
[[nodiscard]] Result<> check_unconfined(const PeerCredentials& peer, int pidfd);
// Which of `peer`'s groups is the process's own now. EPERM: none, it runs with another.
[[nodiscard]] Result<gid_t> effective_group(const PeerCredentials& peer, int pidfd);
// Asks no file system: the caller's root may lie on one that does not answer.
[[nodiscard]] Result<CallerPlace> open_caller_place(const PeerCredentials& peer, int pidfd);

}  // namespace wrapd::daemon
