// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor_pool.h"

#include <cstdio>

#include "base/credentials.h"

namespace wrapd::daemon {
namespace {

// For sessions that do not come to run soon. The next one starts when the one before runs: then the processors are
// free, and we are awake for its report.
constexpr std::chrono::milliseconds kRefillAfter{10};

}  // namespace

SupervisorPool::~SupervisorPool() {
  drop_spare();
}

void SupervisorPool::drop_spare() {
  if (!spare_) return;
  if (auto ended = kill_and_reap(spare_->pidfd.get()); !ended)
    std::fprintf(stderr, "wrapd: %s\n", ended.error().message.c_str());
  spare_.reset();
}

Result<SupervisorProcess> SupervisorPool::take() {
  // Without a spare the next session is slower, that is all.
  if (auto timer = loop_.after(kRefillAfter, [this] { refill(); })) refill_timer_ = std::move(*timer);
  if (spare_ && pidfd_alive(spare_->pidfd.get())) {
    SupervisorProcess process = std::move(*spare_);
    spare_.reset();
    return process;
  }
  drop_spare();
  return SupervisorProcess::spawn(program_);
}

void SupervisorPool::session_runs() {
  if (refill_timer_.active()) refill();
}

void SupervisorPool::refill() {
  refill_timer_.reset();
  if (spare_ && pidfd_alive(spare_->pidfd.get())) return;
  drop_spare();
  auto process = SupervisorProcess::spawn(program_);
  if (!process) {
    std::fprintf(stderr, "wrapd: cannot keep a supervisor ready: %s\n", process.error().message.c_str());
    return;
  }
  spare_ = std::move(*process);
}

}  // namespace wrapd::daemon
