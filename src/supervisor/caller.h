// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who asks. One step proves it, and gives a Caller; nothing else gives a handler a task, its descriptors, its memory,
// or the means to act for it.
//
// What is proven, between the kernel's word that a task waits in a call and its word that it still does: that this very
// task is meant; its ids, groups and capabilities; that it is of our user namespace and has the session's root. No
// other task can change a task's credentials, and itself it is in the call: they hold until it is answered. The call is
// handled by a thread that has them, too. Where the supervisor cannot have them, the call is refused.
//
// Reading them costs as much as the rest of a call. A task is therefore remembered together with a file of /proc that
// is bound to it (not to its number): as long as that file gives its name, the number is the same task's. Its
// credentials are read again at each call, except where no task of the session can have others: if the first one has
// the session's and cannot change them (TaskCredentials::settled()), its descendants have and can no others. That is so
// in every ordinary user's session. It would not do to ask this of each task by itself: a thread that executes a
// program takes the number of its process's first thread over, with credentials that may not be that thread's.

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "supervisor/actors.h"
#include "supervisor/failure.h"
#include "supervisor/handler.h"
#include "supervisor/task.h"

namespace wrapd::supervisor {

// The record of a call with this number, as it begins: refused, and by no layer.
[[nodiscard]] Record record_of(int number, std::string reason = {});

// A task that waits in this very call. What is read of it counts only once waits() was true afterwards.
class Caller : public Notification {
 public:
  // True while the task is still in this call: what was read of it before is its own.
  [[nodiscard]] bool waits() const;

  // The steps that handlers begin with.
  //
  // The target's descriptor `fd`, taken from the thread that asks (not from its process: threads can have descriptor
  // tables of their own).
  [[nodiscard]] ForTarget<UniqueFd> take_descriptor(int fd) const;
  // The same, and the address beside it: the two that connect(2) and bind(2) take. The descriptor's errors come first,
  // as in the kernel.
  [[nodiscard]] ForTarget<SocketCall> take_socket_call() const;
  // As the kernel's move_addr_to_kernel(): EINVAL for a length that is negative or above 128, EFAULT for what cannot be
  // read whole.
  [[nodiscard]] ForTarget<AddressCopy> copy_address(uint64_t address, uint64_t length) const;
  // A NUL-terminated string of at most PATH_MAX bytes with the NUL (ENAMETOOLONG, EFAULT, as getname()).
  [[nodiscard]] ForTarget<std::string> copy_path(uint64_t address) const;
  // O_PATH descriptor of what /proc/TID/LINK leads to, LINK being "cwd", "root" or "fd/N"; or -errno. Of the thread, or
  // of the process that it says it is of.
  [[nodiscard]] int open_link(const char* link) const;
  [[nodiscard]] int open_process_link(pid_t process, const char* link) const;
  [[nodiscard]] int status(kernel::TaskStatus& status) const;
  // Fills in which program it is; nothing if that is not known for certain.
  void name(Record& record) const;

  // A record whose call was neither carried out nor refused in so many words: told in the place of the handler's.
  void leave_unfinished(Record record) const { unfinished_ = std::move(record); }

  // Whose rights the call is made with.
  [[nodiscard]] const kernel::Credentials& credentials() const { return credentials_; }
  // The means to act: what is done through it is done with these.
  [[nodiscard]] kernel::Operations& act() const { return *kernel_; }

 private:
  friend class Callers;
  struct Known {
    pid_t tid;
    kernel::Task task;
    kernel::TaskCredentials credentials;
  };
  Caller(kernel::Kernel& kernel, kernel::TrapSource& source, const Notification& call)
      : Notification(call), kernel_(&kernel), source_(&source) {}
  template <class Take>
  [[nodiscard]] ForTarget<UniqueFd> take_by(int fd, Take take) const;

  kernel::Kernel* kernel_;
  kernel::TrapSource* source_;
  std::shared_ptr<const Known> known_;
  kernel::Credentials credentials_;
  uint64_t missing_ = 0;  // capabilities that it has in effect, and we cannot have
  std::string comm_;
  mutable std::optional<std::string> exe_;  // read before waits() was true
  mutable bool checked_ = false;            // nothing was read since
  mutable std::optional<Record> unfinished_;
};

// The one step.
class Callers {
 public:
  // `root` is an O_PATH descriptor of the session's root directory; borrowed. To be made in a thread that has the
  // session's credentials.
  Callers(kernel::Kernel& kernel, kernel::TrapSource& source, int root);

  // The session's first task, by number and pidfd. To be told while it waits for its acknowledgement; if it is not, or
  // if its credentials can change, those of all tasks are read at each call.
  void begin_with(pid_t first, int pidfd);

  // TargetErrno, which nobody sees: the task is not in the call any more.
  [[nodiscard]] ForTarget<Caller> prove(const Notification& call);
  // Proves who asks and has `handler` handle the call as that task. A record names the program, and is of a task that
  // was still in the call when all of it was read; if it was not, there is none.
  [[nodiscard]] Outcome serve(const Notification& call, Handler& handler, CallContext& context);
  // Fills in which program it is whose call is refused without a handler; nothing if that is not known for certain.
  void name_unproven(const Notification& call, Record& record);
  // Kills the task that calls, and names it.
  void end(const Notification& call, Record& record);

 private:
  static constexpr size_t kMostKnown = 32;

  [[nodiscard]] std::shared_ptr<const Caller::Known> recall(pid_t tid);
  void remember(std::shared_ptr<const Caller::Known> known);
  void forget(pid_t tid);
  [[nodiscard]] ForTarget<std::shared_ptr<const Caller::Known>> look_at(const Notification& call, std::string& comm);
  [[nodiscard]] ForTarget<> choose_credentials(Caller& caller, const kernel::TaskCredentials& task) const;
  [[nodiscard]] Outcome refuse(const Notification& call, const Failure& failure);
  static void explain_missing(const Caller& caller, Outcome& outcome);

  kernel::Kernel& kernel_;
  kernel::TrapSource& source_;
  int root_;
  kernel::Credentials own_;
  uint64_t permitted_ = 0;
  bool uniform_ = false;  // every task has the session's credentials, and can have no others
  Actors actors_;
  std::mutex lock_;
  std::vector<std::shared_ptr<const Caller::Known>> known_;  // the one that called last is the last
};

}  // namespace wrapd::supervisor
