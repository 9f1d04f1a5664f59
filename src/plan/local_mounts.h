// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which mounts of a process the kernel answers for by itself. A file system that is served by a program (FUSE, a
// network file system, an automounter) may let who looks into it wait for ever, and may say of its files what its
// server likes.
//
// Mounts are known by their number (proc_pid_mountinfo(5), statx(2)), which is the same for everybody: a list that was
// read of another process than was meant says nothing wrong.

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace wrapd::plan {

class LocalMounts {
 public:
  LocalMounts() = default;  // none
  // A line that is not understood is no local mount.
  [[nodiscard]] static LocalMounts parse(std::string_view mountinfo);
  // Those of a process. A list that is longer than any sane one has no local mounts.
  [[nodiscard]] static Result<LocalMounts> of(pid_t pid);

  [[nodiscard]] bool contains(uint64_t mount) const;

 private:
  std::vector<uint64_t> mounts_;  // sorted
};

}  // namespace wrapd::plan
