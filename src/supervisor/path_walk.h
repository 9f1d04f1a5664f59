// SPDX-License-Identifier: Apache-2.0
#pragma once

// Path lookup on behalf of a target: what the target's own system call would find, found by us, once, as an O_PATH
// descriptor that nobody can swap any more. The kernel does the walk (openat2(2)) where it can be told to stay inside
// the target's root and off magic links. Only where it says that it met one of the two (an absolute or climbing link
// under a relative name, /proc/self/...) the name is walked here, element by element, and the links that the kernel
// would have followed for the target are followed for the target: "/proc/self" is the target, not us, and of the magic
// links of /proc only the target's own root, cwd and descriptors are.

#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/caller.h"

namespace wrapd::supervisor {

enum class LastElement { follow, keep };  // what to do if the last element is a symbolic link

struct Located {
  UniqueFd fd;  // O_PATH
  struct stat st {};
  // The links of /proc that the way led through: the target's descriptors, and whether it was its working directory.
  struct Descriptor {
    int number;
    UniqueFd directory;
  };
  std::vector<Descriptor> descriptors{};
  bool by_working_directory = false;
};

class PathWalk {
 public:
  // `root` is an O_PATH descriptor of the root directory of session and target alike; borrowed.
  PathWalk(kernel::Objects& kernel, int root);

  // Looks `path` up as the caller would, from `directory` (O_PATH; of no meaning for an absolute path). It counts only
  // once call.waits() was true afterwards: the task may have died and its number may be another's.
  [[nodiscard]] ForTarget<Located> locate(const Caller& call, int directory, const std::string& path, LastElement last);

 private:
  [[nodiscard]] ForTarget<Located> walk(const Caller& call, int directory, std::string path, LastElement last);
  [[nodiscard]] ForTarget<UniqueFd> follow_proc_link(const Caller& call, int directory, const std::string& name,
                                                     Located& way);
  [[nodiscard]] ForTarget<std::string> read_link(const Caller& call, int parent, int link, const struct stat& st);
  [[nodiscard]] bool same_directory(int a, int b);

  kernel::Objects& kernel_;
  int root_;
};

}  // namespace wrapd::supervisor
