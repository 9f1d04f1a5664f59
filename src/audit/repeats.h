// SPDX-License-Identifier: Apache-2.0
#pragma once

// Equal events of one session, told once. The first of them is passed on at once. Those that follow within a second are
// counted, and one event with their count stands for them; while they keep coming the interval doubles, to a minute.
// Equal are events that differ in their time and their pid alone; an event with a count has those of the last.

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "audit/event.h"

namespace wrapd::audit {

class Repeats {
 public:
  using Clock = std::chrono::steady_clock;
  using Emit = std::function<void(Event)>;
  static constexpr std::chrono::seconds kInterval{1};
  static constexpr std::chrono::seconds kLongest{64};
  static constexpr size_t kMost = 128;  // kinds that are told apart at once; what is more is passed on as it comes

  explicit Repeats(Emit emit) : emit_(std::move(emit)) {}
  void add(Event event, Clock::time_point now);
  // Events whose interval is over.
  void pass_due(Clock::time_point now);
  // Everything, at the end.
  void pass_all();
  // When pass_due() has something to do.
  [[nodiscard]] std::optional<Clock::time_point> next_due() const;

 private:
  struct Series {
    Event last;
    uint64_t count = 0;  // since the last that was passed on
    std::chrono::seconds interval = kInterval;
    Clock::time_point due;
  };
  void pass(Series& series);
  Emit emit_;
  std::unordered_map<std::string, Series> series_;
};

}  // namespace wrapd::audit
