// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one seam between the supervisor and the kernel. It holds no policy: every method is one thing the kernel does,
// done with the credentials of the calling thread (docs/architecture.md, "Identity"). It is in parts, so that a handler
// of system calls is given what it may have: looking at objects; acting on them, which it gets with a proven caller
// alone (supervisor/caller.h); and tasks, which it never sees, nor where calls come from (trap_source.h). What unit
// tests play of it, they override.
//
// Every method is thread-safe, allocates nothing unless said, and returns -errno on failure.

#include <utility>

#include "kernel/files.h"
#include "kernel/operations.h"
#include "kernel/sockets.h"
#include "kernel/tasks.h"

namespace wrapd::kernel {

// Looking.
class Objects : public Files, public Sockets {
 public:
  using Files::Files;
};

class Kernel : public Objects, public Operations, public Tasks {
 public:
  // As Files, Operations and Tasks say.
  explicit Kernel(UniqueFd own_proc, UniqueFd session_proc = {})
      : Objects(std::move(own_proc), std::move(session_proc)), Operations(proc()), Tasks(proc()) {}
};

}  // namespace wrapd::kernel
