// SPDX-License-Identifier: Apache-2.0
#pragma once

// Starting a program is most of what opening a session costs. So one supervisor is kept ready: started, waiting for a
// configuration, belonging to nobody yet. It is used once; the next one is started while the session it went to runs.

#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/supervisor_process.h"

namespace wrapd::daemon {

class SupervisorPool {
 public:
  SupervisorPool(EventLoop& loop, std::string program) : loop_(loop), program_(std::move(program)) {}
  ~SupervisorPool();

  // A supervisor that waits for its configuration: the one that is ready, or, if there is none, a new one.
  [[nodiscard]] Result<SupervisorProcess> take();
  // A session runs: its processes wait for its command now, and the next supervisor may be started.
  void session_runs();

 private:
  void refill();
  void drop_spare();

  EventLoop& loop_;
  std::string program_;
  std::optional<SupervisorProcess> spare_;
  EventSource refill_timer_;
};

}  // namespace wrapd::daemon
