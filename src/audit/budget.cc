// SPDX-License-Identifier: Apache-2.0
#include "audit/budget.h"

#include <algorithm>
#include <utility>

namespace wrapd::audit {
namespace {

// The journal gets each field, the whole as JSON, and both once more in one line for people.
constexpr uint64_t kRest = 512;
uint64_t bytes_in_the_journal(const Event& event) {
  return kRest + 2 * to_json(event).size() + to_message(event).size();
}

// Their number is not the program's to choose, or they say what became of the others.
bool must_be_recorded(const Event& event) {
  switch (event.kind) {
    case Kind::approval:
      return event.action == "allowed" || event.action == "denied";  // somebody has answered
    default:
      return !is_operation(event.kind);
  }
}

std::string key_of(const Event& event) {
  std::string key = std::to_string(static_cast<int>(event.kind)) + (event.abstract ? "@" : "/");
  for (const std::string* text :
       {&event.operation, &event.decision, &event.action, &event.rule, &event.policy, &event.reason}) {
    key += std::to_string(text->size()) + ":" + *text;
  }
  return key;
}

}  // namespace

unsigned* Budget::among_the_first(const Event& event) {
  if (event.action == "allowed" && event.decision == "allow") return nullptr;
  std::string key = key_of(event);
  auto known = kinds_.find(key);
  if (known == kinds_.end() && kinds_.size() >= kMostKinds) return nullptr;
  if (known == kinds_.end()) known = kinds_.emplace(std::move(key), 0).first;
  return known->second < kFirstOfAKind ? &known->second : nullptr;
}

bool Budget::take(uint64_t bytes, Allowance::Use use, Clock::time_point now) {
  return !share_ || share_->allowance.take(share_->slot, share_->of_all, bytes, use, now);
}

bool Budget::fits(const Event& event, Clock::time_point now) {
  unsigned* const recorded = must_be_recorded(event) ? nullptr : among_the_first(event);
  if (recorded != nullptr || must_be_recorded(event)) {
    if (!take(bytes_in_the_journal(event), Allowance::Use::must, now)) return false;
    if (recorded != nullptr) ++*recorded;
    return true;
  }
  if (bucket_.level(now) < kRest) return false;  // the usual case in a flood: it need not be rendered
  const uint64_t bytes = bytes_in_the_journal(event);
  return bucket_.take(now, static_cast<double>(bytes)) && take(bytes, Allowance::Use::ordinary, now);
}

bool Budget::admits(const Event& event, Clock::time_point now) {
  if (fits(event, now)) return true;
  const uint64_t stands_for = is_operation(event.kind) ? event.count.value_or(1) : 1;
  lost_ += stands_for;
  unreported_ += stands_for;
  if (!next_report_) next_report_ = now + interval_;
  return false;
}

std::optional<Event> Budget::losses(Clock::time_point now, bool at_the_end) {
  if (unreported_ == 0 || !(at_the_end || (next_report_ && *next_report_ <= now))) return std::nullopt;
  Event event = make_event(Kind::events_lost);
  event.count = std::exchange(unreported_, 0);
  event.reason = "more than a session may write to the journal";
  next_report_.reset();
  interval_ = std::min(interval_ * 2, kLastReport);
  if (take(bytes_in_the_journal(event), Allowance::Use::must, now)) return event;
  share_->allowance.add_unrecorded(share_->slot, *event.count);
  return std::nullopt;
}

std::optional<Event> Budget::losses_of_the_user(Clock::time_point now) {
  if (!share_) return std::nullopt;
  const uint64_t events = share_->allowance.take_unrecorded(share_->slot);
  if (events == 0) return std::nullopt;
  Event event = make_event(Kind::events_lost);
  event.count = events;
  event.reason = kUserLosses;
  if (take(bytes_in_the_journal(event), Allowance::Use::must, now)) return event;
  share_->allowance.add_unrecorded(share_->slot, events);
  return std::nullopt;
}

std::optional<Budget::Clock::time_point> Budget::next_report() const {
  return next_report_;
}

}  // namespace wrapd::audit
