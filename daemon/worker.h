// SPDX-License-Identifier: Apache-2.0
#pragma once

// Work that may block (name services, network file systems) or take long (compiling a policy), away from the loop's
// thread. Threads start when there is work and stay. They create no files: the loop's thread changes the umask.

#include <chrono>
#include <functional>
#include <memory>

#include "base/result.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class Worker {
 public:
  // At most `max_threads` jobs run and `max_queue` wait at once. Signals must be blocked before the first submit().
  [[nodiscard]] static Result<std::unique_ptr<Worker>> create(EventLoop& loop, size_t max_threads, size_t max_queue);
  // Does not wait for jobs that run: one may hang in a name service. What they still do is dropped.
  ~Worker();

  // Runs `job` on a thread of its own, then what it returned on the loop's thread. `job` must own all that it uses.
  // EAGAIN if the queue is full.
  using Completion = std::function<void()>;
  [[nodiscard]] Result<> submit(std::function<Completion()> job);

 private:
  struct Shared;
  Worker() = default;
  void collect();
  [[nodiscard]] Result<> queue(std::function<Completion()> job);
  static void run(std::shared_ptr<Shared> shared);
  std::shared_ptr<Shared> shared_;
  EventSource source_;
};

}  // namespace wrapd::daemon
