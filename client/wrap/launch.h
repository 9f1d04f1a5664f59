// SPDX-License-Identifier: Apache-2.0
#pragma once

// How CMD comes to life. The child is cloned with a shared descriptor table, sets up its own confinement, and waits.
// The listener of its filter so appears in the table of the unfiltered parent as well, which takes it to the supervisor
// without any system call of the child's: no filter can stand in the way of its own hand-off. Only when the supervisor
// has it does the parent say go, and only then is there an exec; that unshares the table, and closes what is
// close-on-exec.
//
// With a shared table nobody sees end-of-file on a pipe of ours while the other lives, and the parent could never close
// its end of an exec-error pipe in time. So the two talk through a shared page (which an exec unmaps), the child is
// killed by the kernel when its parent dies, and each has a deadline.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrap/confine/steps.h"
#include "client/wrap/exec_plan.h"
#include "client/wrap/signals.h"

namespace wrapd::client {

inline constexpr std::chrono::milliseconds kLaunchTimeout{10000};

struct LaunchSpec {
  const ExecPlan* exec = nullptr;
  const InheritedSignals* signals = nullptr;
  Confined confined;
  std::span<const int> keep_fds;                       // passed on to CMD
  std::chrono::milliseconds timeout = kLaunchTimeout;  // for each wait, the parent's and the child's
};

struct LaunchPage;

class Launch {
 public:
  // Clones the child and waits until it is confined. What `spec` points to must outlive the object.
  [[nodiscard]] static Result<Launch> start(const LaunchSpec& spec);
  Launch(Launch&& other) noexcept;
  Launch& operator=(Launch&&) = delete;
  // Kills and reaps the child unless go() was called.
  ~Launch();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  // The listener, owned by the caller from now on; close it as soon as it is handed over. Invalid without a filter.
  [[nodiscard]] UniqueFd take_listener() { return std::move(listener_); }
  // Lets the child exec CMD.
  void go();
  // What execve(2) failed with, once the child has ended; 0 if CMD was executed.
  [[nodiscard]] int exec_error() const;
  // Anything else the child failed with, once it has ended.
  [[nodiscard]] std::optional<std::string> failure() const;

 private:
  Launch() = default;
  [[nodiscard]] Result<> await_confined(int ready, std::chrono::milliseconds timeout);

  LaunchPage* page_ = nullptr;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd listener_;
  bool released_ = false;
};

// Makes every descriptor above 2 close-on-exec, and standard descriptors that are closed refer to nothing, so that no
// descriptor of ours can take their numbers and be passed on. Fails if one of `wanted` is not open.
[[nodiscard]] Result<> guard_descriptors(std::span<const int> wanted);

}  // namespace wrapd::client
