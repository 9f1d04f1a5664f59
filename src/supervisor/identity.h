// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a supervisor of the service becomes before it touches anything of its caller: effective ids, groups and file
// system ids are the caller's, so that every peer and every permission check sees the caller; real and saved ids are
// the system user `wrapd`, so that the caller can neither signal, trace nor limit it; CAP_SYS_PTRACE is permitted (and
// in root's sessions what it takes to act as another user, kernel/credentials.h), nothing is effective. The order
// matters (each step is verified at the end, by asking the kernel): the root directory and the ids need capabilities,
// dropping them comes after, then no_new_privs. The ids do not survive an exec: there is none after.

#include <sys/types.h>

#include <vector>

#include "base/result.h"

namespace wrapd::supervisor {

struct Identity {
  uid_t own_uid;
  gid_t own_gid;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

// Changes the root directory to the one behind `root` (O_PATH), which may be of another mount namespace, and the
// working directory to `working_directory` (O_PATH), which need not lie in it. Needs CAP_SYS_CHROOT.
[[nodiscard]] Result<> enter_root(int root, int working_directory);

// Needs CAP_SETUID and CAP_SETGID; refuses to be called in a process with threads. On an error the process must end.
[[nodiscard]] Result<> assume(const Identity& identity);

// Installs the supervisor's own filter (plan/supervisor_filter.h), of a session of this user's. `applies` is false
// where a build is instrumented and needs calls that are not listed.
[[nodiscard]] Result<> confine_self(uid_t uid, bool& applies);

}  // namespace wrapd::supervisor
