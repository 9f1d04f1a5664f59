// SPDX-License-Identifier: Apache-2.0
#pragma once

// Small owners over sd-event(3). One loop, one thread; handlers are ordinary closures. A source stops for good when its
// EventSource goes away, also from inside its own handler.

#include <systemd/sd-event.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/result.h"

namespace wrapd::daemon {

class EventSource {
 public:
  EventSource() noexcept = default;
  EventSource(EventSource&&) noexcept = default;
  EventSource& operator=(EventSource&& other) noexcept {
    std::swap(handler_, other.handler_);
    other.reset();
    return *this;
  }
  ~EventSource() { reset(); }
  void reset() noexcept;
  [[nodiscard]] bool active() const noexcept { return handler_ != nullptr; }
  // Other epoll(7) events than it was made with; of on_io() only.
  [[nodiscard]] Result<> watch_for(uint32_t events);

 private:
  friend class EventLoop;
  struct Handler;
  std::shared_ptr<Handler> handler_;
};

class EventLoop {
 public:
  // Lower runs first when several are due at once, and among equals the one that waits longest. New connections and the
  // bus are equals, so that neither silences the other.
  enum Priority : int64_t { kSessions = -10, kNormal = 0, kNewConnections = 10, kBus = kNewConnections };

  [[nodiscard]] static Result<EventLoop> create();
  EventLoop(EventLoop&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  EventLoop& operator=(EventLoop&&) = delete;
  ~EventLoop() { sd_event_unref(event_); }

  // `handler` gets the epoll(7) events. The descriptor stays the caller's and must outlive the source.
  [[nodiscard]] Result<EventSource> on_io(int fd, uint32_t events, std::function<void(uint32_t)> handler,
                                          Priority priority = kNormal);
  // Once, after `delay`.
  [[nodiscard]] Result<EventSource> after(std::chrono::milliseconds delay, std::function<void()> handler,
                                          Priority priority = kNormal);
  // The signal must be blocked in every thread.
  [[nodiscard]] Result<EventSource> on_signal(int signal, std::function<void()> handler);

  // Once stop() was called, before run() returns and before libraries end what they have attached here.
  [[nodiscard]] Result<EventSource> on_exit(std::function<void()> handler);

  // Answers systemd's watchdog (sd_watchdog_enabled(3)) if there is one.
  [[nodiscard]] Result<> serve_watchdog();
  [[nodiscard]] Result<> run();
  // What is due, or the first that becomes due within `patience`.
  [[nodiscard]] Result<> run_once(std::chrono::milliseconds patience);
  void stop() noexcept;

  // For libraries that bring their own sources. Borrowed.
  [[nodiscard]] sd_event* handle() const noexcept { return event_; }

 private:
  explicit EventLoop(sd_event* event) noexcept : event_(event) {}
  sd_event* event_ = nullptr;
};

}  // namespace wrapd::daemon
