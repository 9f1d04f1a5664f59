// SPDX-License-Identifier: Apache-2.0
#include "audit/repeats.h"

#include <algorithm>
#include <utility>

namespace wrapd::audit {
namespace {

std::string key_of(const Event& event) {
  std::string key =
      std::to_string(static_cast<int>(event.kind)) + " " + std::to_string(event.error) + (event.abstract ? " @" : " /");
  for (const std::string* text :
       {&event.comm, &event.exe, &event.operation, &event.decision, &event.rule, &event.policy, &event.mode,
        &event.action, &event.reason, &event.path, &event.target}) {
    key += std::to_string(text->size()) + ":" + *text;
  }
  return key;
}

}  // namespace

void Repeats::add(Event event, Clock::time_point now) {
  pass_due(now);
  std::string key = key_of(event);
  if (auto known = series_.find(key); known != series_.end()) {
    ++known->second.count;
    known->second.last = std::move(event);
    return;
  }
  if (series_.size() < kMost) series_.emplace(std::move(key), Series{.last = {}, .due = now + kInterval});
  emit_(std::move(event));
}

void Repeats::pass(Series& series) {
  if (series.count > 1) series.last.count = series.count;
  series.count = 0;
  emit_(std::exchange(series.last, {}));
}

void Repeats::pass_due(Clock::time_point now) {
  for (auto it = series_.begin(); it != series_.end();) {
    Series& series = it->second;
    if (series.due > now) {
      ++it;
    } else if (series.count == 0) {
      it = series_.erase(it);
    } else {
      series.interval = std::min(series.interval * 2, kLongest);
      series.due = now + series.interval;
      pass(series);
      ++it;
    }
  }
}

void Repeats::pass_all() {
  for (auto& [key, series] : series_) {
    if (series.count > 0) pass(series);
  }
}

std::optional<Repeats::Clock::time_point> Repeats::next_due() const {
  std::optional<Clock::time_point> due;
  for (const auto& [key, series] : series_) {
    if (series.count > 0 && (!due || series.due < *due)) due = series.due;
  }
  return due;
}

}  // namespace wrapd::audit
