// SPDX-License-Identifier: Apache-2.0
#pragma once

// Threads that act as somebody else than the session. The threads that receive never change what they are; a call of a
// task with other credentials is handled in a thread that took these once and keeps them, so that lookups, judgement
// and act are all made with them. One that has nothing to do for a while ends.

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "kernel/tasks.h"

namespace wrapd::supervisor {

struct ActorLimits {
  size_t idle = 8;  // that wait for another call of the same credentials; what is above it ends at once
  std::chrono::milliseconds patience{5000};
};

class Actors {
 public:
  explicit Actors(kernel::Tasks& tasks, ActorLimits limits = {}) : tasks_(tasks), limits_(limits) {}
  // Nothing may run any more.
  ~Actors();
  Actors(const Actors&) = delete;
  Actors& operator=(const Actors&) = delete;

  // Has `work` done with these credentials, and returns when it is done. A signal that interrupts the calling thread
  // meanwhile is passed on to the other one. Error: `work` was not begun.
  [[nodiscard]] Result<> run(const kernel::Credentials& credentials, const std::function<void()>& work);

 private:
  struct Actor;
  [[nodiscard]] Result<std::shared_ptr<Actor>> take(const kernel::Credentials& credentials);
  void serve(Actor& actor);
  static void join(std::list<std::shared_ptr<Actor>> leaving);

  kernel::Tasks& tasks_;
  const ActorLimits limits_;
  std::mutex lock_;
  std::list<std::shared_ptr<Actor>> idle_;   // the one that waits longest first
  std::list<std::shared_ptr<Actor>> ended_;  // to be joined
};

}  // namespace wrapd::supervisor
