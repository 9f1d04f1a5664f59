// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/serving.h"

#include <ctime>
#include <utility>

namespace wrapd::daemon::bus {

Result<std::unique_ptr<Serving>> Serving::start(sd_bus* bus, EventLoop& loop, std::function<void(std::string)> failed) {
  std::unique_ptr<Serving> serving(new Serving(bus, std::move(failed)));
  if (int rc = serving->add(loop); rc < 0) return fail_errno("cannot serve the bus", -rc);
  return serving;
}

int Serving::add(EventLoop& loop) {
  const int fd = sd_bus_get_fd(bus_);
  int rc = fd < 0 ? fd : sd_event_add_io(loop.handle(), &io_, fd, 0, on_io, this);
  if (rc >= 0) rc = sd_event_source_set_priority(io_, EventLoop::kBus);
  if (rc >= 0) rc = sd_event_source_set_prepare(io_, on_prepare);
  constexpr uint64_t kAccuracy = 10'000;
  if (rc >= 0) rc = sd_event_add_time(loop.handle(), &time_, CLOCK_MONOTONIC, 0, kAccuracy, on_time, this);
  if (rc >= 0) rc = sd_event_source_set_enabled(time_, SD_EVENT_OFF);
  if (rc >= 0) rc = sd_event_source_set_priority(time_, EventLoop::kBus);
  return rc;
}

// Nothing is set to what it is already: that would make it the youngest again.
int Serving::prepare() {
  const int events = sd_bus_get_events(bus_);  // poll(2)'s and epoll(7)'s are the same
  if (events < 0) return events;
  if (int rc = sd_event_source_set_io_events(io_, static_cast<uint32_t>(events)); rc < 0) return rc;
  uint64_t until = 0;
  int rc = sd_bus_get_timeout(bus_, &until);
  if (rc < 0) return rc;
  if (rc == 0) {
    until_.reset();
    return sd_event_source_set_enabled(time_, SD_EVENT_OFF);
  }
  if (until_ == until) return 0;
  until_ = until;
  rc = sd_event_source_set_time(time_, until);
  return rc < 0 ? rc : sd_event_source_set_enabled(time_, SD_EVENT_ONESHOT);
}

void Serving::turn() {
  for (int i = 0; i < kMessagesInATurn; ++i) {
    const int rc = sd_bus_process(bus_, nullptr);
    if (rc < 0) return fail(rc);
    if (rc == 0) return;
  }
}

void Serving::fail(int rc) {
  stop();
  if (auto failed = std::exchange(failed_, nullptr)) failed(fail_errno("the connection", -rc).error().message);
}

void Serving::stop() noexcept {
  io_ = sd_event_source_disable_unref(io_);
  time_ = sd_event_source_disable_unref(time_);
}

// An exception here is a bug or the end of memory, as in the handlers of EventLoop: the end is meant.
// NOLINTBEGIN(bugprone-exception-escape)
int Serving::on_prepare(sd_event_source*, void* self) noexcept {
  auto& serving = *static_cast<Serving*>(self);
  if (int rc = serving.prepare(); rc < 0) serving.fail(rc);
  return 0;
}

int Serving::on_io(sd_event_source*, int, uint32_t, void* self) noexcept {
  static_cast<Serving*>(self)->turn();
  return 0;
}

int Serving::on_time(sd_event_source*, uint64_t, void* self) noexcept {
  auto& serving = *static_cast<Serving*>(self);
  serving.until_.reset();  // it fires once
  serving.turn();
  return 0;
}
// NOLINTEND(bugprone-exception-escape)

}  // namespace wrapd::daemon::bus
