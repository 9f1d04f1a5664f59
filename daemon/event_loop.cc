// SPDX-License-Identifier: Apache-2.0
#include "daemon/event_loop.h"

#include <ctime>

namespace wrapd::daemon {

// Kept alive by its EventSource, and by a running call of its own.
struct EventSource::Handler : std::enable_shared_from_this<Handler> {
  std::function<void(uint32_t)> call;
  sd_event_source* source = nullptr;

  void disconnect() noexcept { source = sd_event_source_disable_unref(source); }
  ~Handler() { disconnect(); }

  // An exception here is a bug or the end of memory: end, and be started again.
  // NOLINTBEGIN(bugprone-exception-escape)
  static void invoke(void* self, uint32_t events) noexcept {
    auto keep = static_cast<Handler*>(self)->shared_from_this();
    keep->call(events);
  }
  static int on_io(sd_event_source*, int, uint32_t events, void* self) noexcept {
    invoke(self, events);
    return 0;
  }
  static int on_time(sd_event_source*, uint64_t, void* self) noexcept {
    invoke(self, 0);
    return 0;
  }
  static int on_exit(sd_event_source*, void* self) noexcept {
    invoke(self, 0);
    return 0;
  }
  static int on_signal(sd_event_source*, const struct signalfd_siginfo*, void* self) noexcept {
    invoke(self, 0);
    return 0;
  }
  // NOLINTEND(bugprone-exception-escape)
};

void EventSource::reset() noexcept {
  if (!handler_) return;
  handler_->disconnect();
  handler_.reset();
}

Result<> EventSource::watch_for(uint32_t events) {
  if (!handler_) return fail("nothing is watched", EBADF);
  if (int rc = sd_event_source_set_io_events(handler_->source, events); rc < 0) {
    return fail_errno("cannot watch a descriptor", -rc);
  }
  return {};
}

Result<EventLoop> EventLoop::create() {
  sd_event* event = nullptr;
  if (int rc = sd_event_new(&event); rc < 0) return fail_errno("cannot make an event loop", -rc);
  return EventLoop(event);
}

Result<EventSource> EventLoop::on_io(int fd, uint32_t events, std::function<void(uint32_t)> handler,
                                     Priority priority) {
  EventSource out;
  out.handler_ = std::make_shared<EventSource::Handler>();
  out.handler_->call = std::move(handler);
  int rc = sd_event_add_io(event_, &out.handler_->source, fd, events, EventSource::Handler::on_io, out.handler_.get());
  if (rc >= 0) rc = sd_event_source_set_priority(out.handler_->source, priority);
  if (rc < 0) return fail_errno("cannot watch a descriptor", -rc);
  return out;
}

Result<EventSource> EventLoop::after(std::chrono::milliseconds delay, std::function<void()> handler,
                                     Priority priority) {
  EventSource out;
  out.handler_ = std::make_shared<EventSource::Handler>();
  out.handler_->call = [handler = std::move(handler)](uint32_t) { handler(); };
  auto microseconds = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(delay).count());
  constexpr uint64_t kAccuracy = 10'000;
  int rc = sd_event_add_time_relative(event_, &out.handler_->source, CLOCK_MONOTONIC, microseconds, kAccuracy,
                                      EventSource::Handler::on_time, out.handler_.get());
  if (rc >= 0) rc = sd_event_source_set_priority(out.handler_->source, priority);
  if (rc < 0) return fail_errno("cannot set a timer", -rc);
  return out;
}

Result<EventSource> EventLoop::on_signal(int signal, std::function<void()> handler) {
  EventSource out;
  out.handler_ = std::make_shared<EventSource::Handler>();
  out.handler_->call = [handler = std::move(handler)](uint32_t) { handler(); };
  int rc =
      sd_event_add_signal(event_, &out.handler_->source, signal, EventSource::Handler::on_signal, out.handler_.get());
  if (rc < 0) return fail_errno("cannot watch a signal", -rc);
  return out;
}

Result<EventSource> EventLoop::on_exit(std::function<void()> handler) {
  EventSource out;
  out.handler_ = std::make_shared<EventSource::Handler>();
  out.handler_->call = [handler = std::move(handler)](uint32_t) { handler(); };
  int rc = sd_event_add_exit(event_, &out.handler_->source, EventSource::Handler::on_exit, out.handler_.get());
  if (rc >= 0) rc = sd_event_source_set_priority(out.handler_->source, kSessions);
  if (rc < 0) return fail_errno("cannot prepare for the loop's end", -rc);
  return out;
}

Result<> EventLoop::serve_watchdog() {
  if (int rc = sd_event_set_watchdog(event_, 1); rc < 0) return fail_errno("cannot serve the watchdog", -rc);
  return {};
}

Result<> EventLoop::run() {
  if (int rc = sd_event_loop(event_); rc < 0) return fail_errno("event loop", -rc);
  return {};
}

Result<> EventLoop::run_once(std::chrono::milliseconds patience) {
  const auto microseconds = std::chrono::microseconds(patience).count();
  if (int rc = sd_event_run(event_, static_cast<uint64_t>(microseconds)); rc < 0) return fail_errno("event loop", -rc);
  return {};
}

void EventLoop::stop() noexcept {
  sd_event_exit(event_, 0);
}

}  // namespace wrapd::daemon
