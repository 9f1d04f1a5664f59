// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace wrapd::daemon {

// True unless only root can make, move or remove names in `directory`, and in every directory on the way to it, as seen
// from the root directory `root_fd` (O_PATH). What does not exist yet, or cannot be told (no permission to
// look, a loop of symlinks), is true.
[[nodiscard]] bool others_may_create(int root_fd, std::string_view directory);

}  // namespace wrapd::daemon
