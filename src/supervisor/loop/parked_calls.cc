// SPDX-License-Identifier: Apache-2.0

// The part of Loop that looks after calls about which somebody is asked.

#include <algorithm>

#include "supervisor/loop/loop.h"

namespace wrapd::supervisor {

// The call has no thread from here on.
void Loop::park(const Notification& call, Outcome outcome) {
  {
    std::lock_guard lock(parked_lock_);
    // terminate() and this either see each other's work or come after it.
    if (!terminating_ && parked_.size() + parked_in_hand_ < limits_.parked) {
      parked_.push_back({call, std::move(outcome), {}});
      // It may have been answered before it was here, and the session has to tell who is asked.
      wake_monitor();
      return;
    }
  }
  approvals_.leave(outcome.question, Approvals::Leaving::done);
  if (terminating_) {
    outcome = end_task(call);
  } else {
    outcome.record->reason = "too many calls wait for an answer";
  }
  finish(call, outcome);
}

// Each look reads a file for each call: what many cost is spread.
std::chrono::milliseconds Loop::parked_pause() const {
  return limits_.look_after + limits_.tick * static_cast<int>(parked_.size()) / 2;
}

// True if the call need not wait any more.
bool Loop::resolve(Parked& parked, bool look, Clock::time_point now) {
  const uint64_t question = parked.refusal.question;
  auto standing = approvals_.standing(question);
  if (standing.kind == Approvals::Standing::Kind::allowed) {
    approvals_.leave(question, Approvals::Leaving::done);
    std::lock_guard lock(role_lock_);
    retries_.push_back({parked.call, now});
    return true;
  }
  if (standing.kind == Approvals::Standing::Kind::denied) {
    approvals_.leave(question, Approvals::Leaving::done);
    parked.refusal.record->reason = standing.reason;
    finish(parked.call, parked.refusal);
    return true;
  }
  if (!look) return false;
  if (!source_.valid(parked.call.id)) {
    approvals_.leave(question, Approvals::Leaving::done);
    return true;
  }
  const WaitEnd end = signals_.look(parked.call.tid, parked.watch, now);
  if (end == WaitEnd::none) return false;
  // Nothing was decided, so nothing is recorded: the call ends, or is made again and joins its question.
  approvals_.leave(question, Approvals::Leaving::interrupted);
  (void)source_.answer(parked.call.id, Answer::errno_of(end == WaitEnd::restart ? kRestart : EINTR));
  return true;
}

void Loop::look_at_parked(Clock::time_point now) {
  std::vector<Parked> parked;
  bool look = false;
  {
    std::lock_guard lock(parked_lock_);
    if (parked_.empty()) return;
    look = now - parked_looked_at_ >= parked_pause();
    parked.swap(parked_);
    parked_in_hand_ = parked.size();
  }
  if (look) parked_looked_at_ = now;
  std::erase_if(parked, [&](Parked& waiting) { return resolve(waiting, look, now); });
  std::lock_guard lock(parked_lock_);
  parked_in_hand_ = 0;
  parked_.insert(parked_.end(), std::make_move_iterator(parked.begin()), std::make_move_iterator(parked.end()));
}

// Wakes idle threads for the calls that may go on, or starts one. What finds none in time is refused as any call is.
void Loop::hand_out_retries(Clock::time_point now) {
  std::vector<Notification> late;
  {
    std::lock_guard lock(role_lock_);
    while (!retries_.empty() && now - retries_.front().since >= limits_.decide_within) {
      late.push_back(retries_.front().call);
      retries_.pop_front();
    }
    if (!retries_.empty()) {
      if (idle_ == 0) (void)start_worker(false);
      role_changed_.notify_all();
    }
  }
  for (const Notification& call : late) refuse(call, EACCES, kNoDecision);
}

}  // namespace wrapd::supervisor
