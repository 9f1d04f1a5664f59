// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace wrapd::plan {

// True if others than root can make, move or replace a name in `directory` (absolute), as the file system is now and as
// this process sees it. Every existing component counts, also those that symbolic links lead through: false only if all
// of them are root's and neither group nor others can write there. What does not exist yet, or cannot be
// looked at, answers true.
[[nodiscard]] bool others_may_create(std::string_view directory);

}  // namespace wrapd::plan
