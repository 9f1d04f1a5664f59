// SPDX-License-Identifier: Apache-2.0

// Keeps order and loses nothing in silence. An event that finds the queue full is counted; the count becomes an
// events_lost event in the very place of the lost ones, between what was queued before them and what comes after.
// What is left when the recorder ends (the sink was away to the last) is counted as well, and that count goes to stderr
// as one line: there is nowhere else to put it.

#include <algorithm>

#include "audit/sink.h"
#include "base/io.h"

namespace wrapd::audit {

Recorder::Recorder(std::unique_ptr<Sink> sink, size_t capacity)
    : sink_(std::move(sink)), capacity_(std::max<size_t>(capacity, 1)) {}

Recorder::~Recorder() {
  if (flush()) return;
  for (const Event& event : queue_) {
    // An events_lost event that could not be written stands for those it counted, which lost_total_ has already.
    if (event.kind != Kind::events_lost) ++lost_total_;
  }
  if (!sink_->flush()) ++lost_total_;
  // Nothing to be done if this fails, too.
  (void)write_all(STDERR_FILENO, "wrapd: " + std::to_string(lost_total_) + " audit events could not be recorded\n");
}

Event Recorder::lost_event() const {
  Event event = make_event(Kind::events_lost);
  event.count = lost_unreported_;
  event.session_id = lost_session_;
  return event;
}

void Recorder::record(Event event) {
  if (flush() && sink_->write(event)) return;
  if (lost_unreported_ > 0 && queue_.size() + 2 <= capacity_) {
    queue_.push_back(lost_event());
    lost_unreported_ = 0;
  }
  if (lost_unreported_ == 0 && queue_.size() < capacity_) {
    queue_.push_back(std::move(event));
    return;
  }
  if (lost_unreported_ == 0) {
    lost_session_ = event.session_id;
  } else if (lost_session_ != event.session_id) {
    lost_session_.clear();
  }
  ++lost_unreported_;
  ++lost_total_;
}

bool Recorder::flush() {
  while (!queue_.empty()) {
    if (!sink_->write(queue_.front())) return false;
    queue_.pop_front();
  }
  if (lost_unreported_ > 0) {
    if (!sink_->write(lost_event())) return false;
    lost_unreported_ = 0;
  }
  return sink_->flush().has_value();
}

}  // namespace wrapd::audit
