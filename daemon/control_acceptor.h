// SPDX-License-Identifier: Apache-2.0
#pragma once

// Takes connections from the control socket, a few at a time, each with the hold that lets it be closed without waiting
// (connection_closer.h). Where there are no descriptors left, the caller is still told.

#include <chrono>
#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/connection_closer.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class ControlAcceptor {
 public:
  // The receiver of a socket closes it by its hold.
  struct Reception {
    using Door = std::function<void(UniqueFd socket, ConnectionCloser::Hold hold)>;
    Door admit;
    Door turn_away;  // there are no descriptors left
  };
  // `loop` and `closer` outlive it. `control` is listening and does not block.
  ControlAcceptor(EventLoop& loop, ConnectionCloser& closer, UniqueFd control, Reception reception)
      : loop_(loop), closer_(closer), control_(std::move(control)), reception_(std::move(reception)) {}

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
  [[nodiscard]] bool refuse_one();

  EventLoop& loop_;
  ConnectionCloser& closer_;
  UniqueFd control_;
  Reception reception_;
  UniqueFd reserve_;  // given up for a moment to refuse a connection when there are no descriptors left
  EventSource source_;
  EventSource pause_;
};

}  // namespace wrapd::daemon
