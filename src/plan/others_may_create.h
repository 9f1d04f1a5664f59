// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "plan/local_mounts.h"

namespace wrapd::plan {

// True if others than root can make, move or replace a name in `directory` (absolute) or in a directory on the way to
// it, symbolic links included, as the file system is now and as it is seen from the root directory `root` (O_PATH).
// False only if all of them are root's and neither group nor others can write there. What does not exist yet, or cannot
// be looked at, answers true. So does what lies on a mount that is not among `mounts` (nullptr: all are looked at): no
// file system that a program serves is asked for anything then.
[[nodiscard]] bool others_may_create(int root, std::string_view directory, const LocalMounts* mounts = nullptr);

}  // namespace wrapd::plan
