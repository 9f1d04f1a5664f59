// SPDX-License-Identifier: Apache-2.0
#pragma once

// Serves a connection to the bus on our loop. sd_bus_attach_event(3) would do it with a timer that it sets anew in
// every turn of the loop for what it has read already: among sources of one priority the oldest comes first, so that
// one is always the last, and anybody who keeps another source busy would silence the bus.

#include <systemd/sd-bus.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon::bus {

class Serving {
 public:
  static constexpr int kMessagesInATurn = 16;  // before others get theirs

  // `bus` outlives it. `failed` is called at most once, from the loop: then the connection is of no use any more.
  [[nodiscard]] static Result<std::unique_ptr<Serving>> start(sd_bus* bus, EventLoop& loop,
                                                              std::function<void(std::string)> failed);
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;
  ~Serving() { stop(); }

 private:
  Serving(sd_bus* bus, std::function<void(std::string)> failed) : bus_(bus), failed_(std::move(failed)) {}
  [[nodiscard]] int add(EventLoop& loop);
  // What the connection waits for now.
  [[nodiscard]] int prepare();
  void turn();
  void fail(int rc);
  void stop() noexcept;
  static int on_prepare(sd_event_source* source, void* self) noexcept;
  static int on_io(sd_event_source* source, int fd, uint32_t events, void* self) noexcept;
  static int on_time(sd_event_source* source, uint64_t now, void* self) noexcept;

  sd_bus* bus_;
  std::function<void(std::string)> failed_;
  sd_event_source* io_ = nullptr;
  sd_event_source* time_ = nullptr;
  std::optional<uint64_t> until_;  // what time_ is set to
};

}  // namespace wrapd::daemon::bus
