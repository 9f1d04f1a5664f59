// SPDX-License-Identifier: Apache-2.0
#pragma once

// Takes connections from the control socket, a few at a time, each with the hold that lets it be closed without waiting
// (disposal.h). Where there are no descriptors left, the newcomer is still told.

#include <chrono>
#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/disposal.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class Newcomers {
 public:
  // Whoever gets a socket closes it by its hold.
  struct Reception {
    using Door = std::function<void(UniqueFd socket, Disposal::Hold hold)>;
    Door admit;
    Door turn_away;  // there are no descriptors left
  };
  // `loop` and `disposal` outlive it. `control` is listening and does not block.
  Newcomers(EventLoop& loop, Disposal& disposal, UniqueFd control, Reception reception)
      : loop_(loop), disposal_(disposal), control_(std::move(control)), reception_(std::move(reception)) {}

  [[nodiscard]] Result<> start();
  // For good.
  void stop() {
    source_.reset();
    pause_.reset();
  }

 private:
  [[nodiscard]] Result<> listen();
  void accept_some();
  void receive(UniqueFd socket, const Reception::Door& door);
  void on_failure(int error);
  void pause(std::chrono::milliseconds length);
  [[nodiscard]] bool shed_one();

  EventLoop& loop_;
  Disposal& disposal_;
  UniqueFd control_;
  Reception reception_;
  UniqueFd reserve_;  // given up for a moment to refuse a newcomer when there are no descriptors left
  EventSource source_;
  EventSource pause_;
};

}  // namespace wrapd::daemon
