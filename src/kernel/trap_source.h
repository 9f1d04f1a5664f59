// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where the calls of targets come from, and where their answers go.

#include <sys/types.h>

#include <cstdint>

#include "base/unique_fd.h"

namespace wrapd::kernel {

// One system call of a target that waits for us. `tid` is a thread id of our pid namespace, 0 if it has none there.
struct Notification {
  uint64_t id = 0;
  pid_t tid = 0;
  int number = -1;
  uint64_t arguments[6] = {};
};

// The answer: an errno, or 0 with the value that the call returns; or a descriptor, which becomes the target's, and the
// call returns its number there; or `run_natively`, which lets the kernel do the call as the target wrote it.
struct Answer {
  int error = 0;
  int64_t value = 0;
  bool run_natively = false;
  UniqueFd descriptor{};       // ours is closed with the answer
  bool close_on_exec = false;  // the descriptor in the target

  [[nodiscard]] static Answer errno_of(int error) { return {.error = error}; }
  [[nodiscard]] static Answer of(int rc) { return rc < 0 ? Answer{.error = -rc} : Answer{.value = rc}; }
};

// Thread-safe.
class TrapSource {
 public:
  virtual ~TrapSource() = default;

  // For poll(2): readable while a call waits to be received, hung up when no task is left that could make one.
  [[nodiscard]] virtual int descriptor() const = 0;
  // Waits for a call. -EINTR: a signal came. -ENOENT: the task died meanwhile, or none is left.
  [[nodiscard]] virtual int receive(Notification& call) = 0;
  // Ends a call, in one step: a target that goes on has its descriptor, and one that does not goes on with none. 0, or
  // -errno: -ENOENT if the task is not in the call any more. What kept the target from taking a descriptor (-EMFILE: it
  // has too many) it was told as its call's error.
  [[nodiscard]] virtual int answer(uint64_t id, const Answer& answer) = 0;
  // True while the task is still waiting in this very call. What was read by number before a true answer was that
  // task's.
  [[nodiscard]] virtual bool valid(uint64_t id) = 0;
};

}  // namespace wrapd::kernel
