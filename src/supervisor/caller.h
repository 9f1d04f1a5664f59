// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who asks. One step proves it, and gives a Caller; nothing else gives a handler a task, its descriptors, its memory,
// or the means to act for it.

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/handler.h"
#include "supervisor/task.h"

namespace wrapd::supervisor {

// A task that waits in this very call. What is read of it counts only once waits() was true afterwards.
class Caller : public Notification {
 public:
  // True while the task is still in this call: what was read of it before is its own.
  [[nodiscard]] bool waits() const;

  // The steps that handlers begin with. Errors carry the errno for the target, or kRefused.
  //
  // The target's descriptor `fd`, taken from the thread that asks (not from its process: threads can have descriptor
  // tables of their own).
  [[nodiscard]] Result<UniqueFd> take_descriptor(int fd) const;
  // The same, and the address beside it: the two that connect(2) and bind(2) take. The descriptor's errors come first,
  // as in the kernel.
  [[nodiscard]] Result<SocketCall> take_socket_call() const;
  // As the kernel's move_addr_to_kernel(): EINVAL for a length that is negative or above 128, EFAULT for what cannot be
  // read whole.
  [[nodiscard]] Result<AddressCopy> copy_address(uint64_t address, uint64_t length) const;
  // A NUL-terminated string of at most PATH_MAX bytes with the NUL (ENAMETOOLONG, EFAULT, as getname()).
  [[nodiscard]] Result<std::string> copy_path(uint64_t address) const;
  // O_PATH descriptor of what /proc/TID/LINK leads to, LINK being "cwd", "root" or "fd/N"; or -errno. Of the thread, or
  // of the process that it says it is of.
  [[nodiscard]] int open_link(const char* link) const;
  [[nodiscard]] int open_process_link(pid_t process, const char* link) const;
  [[nodiscard]] int status(kernel::TaskStatus& status) const;
  // Fills in which program it is; nothing if that is not known for certain.
  void name(Record& record) const;

  // The means to act: what is done through it is done as the caller.
  [[nodiscard]] kernel::Operations& act() const { return *kernel_; }

 private:
  friend class Callers;
  Caller(kernel::Kernel& kernel, const Notification& call) : Notification(call), kernel_(&kernel) {}
  template <class Take>
  [[nodiscard]] Result<UniqueFd> take_by(int fd, Take take) const;

  struct Program {
    std::string comm;
    std::string exe;
  };
  kernel::Kernel* kernel_;
  mutable bool checked_ = false;            // nothing was read since waits() was true
  mutable std::optional<Program> program_;  // read before it
};

// The one step.
class Callers {
 public:
  explicit Callers(kernel::Kernel& kernel) : kernel_(kernel) {}

  [[nodiscard]] Result<Caller> prove(const Notification& call);
  // Proves who asks and has `handler` handle the call as that task. A record names the program, and is of a task that
  // was still in the call when all of it was read; if it was not, there is none.
  [[nodiscard]] Outcome serve(const Notification& call, Handler& handler, CallContext& context);
  // Kills the task that calls, and names it.
  void end(const Notification& call, Record& record);

 private:
  kernel::Kernel& kernel_;
};

}  // namespace wrapd::supervisor
