// SPDX-License-Identifier: Apache-2.0
#include "daemon/journal.h"

#include <cstdio>
#include <utility>

namespace wrapd::daemon {
namespace {

constexpr size_t kCapacity = 4096;
constexpr size_t kMaxUsers = 4096;
constexpr std::chrono::milliseconds kRetry{250};
constexpr double kFirstsRate = 1;  // a second
constexpr double kFirstsBurst = 200;

}  // namespace

Journal::Journal(EventLoop& loop, std::unique_ptr<audit::Sink> sink)
    : loop_(loop), recorder_(std::move(sink), kCapacity), firsts_(kFirstsRate, kFirstsBurst) {}

Journal::~Journal() {
  record_counted(std::exchange(refusals_, {}));
  if (!recorder_.flush()) {
    std::fprintf(stderr, "wrapd: %zu audit events could not be recorded before the end\n", recorder_.waiting());
  }
}

void Journal::record(audit::Event event) {
  recorder_.record(std::move(event));
  if (recorder_.waiting() > 0) arm_retry();
}

void Journal::reject(uid_t uid, pid_t pid, std::string reason, std::string_view operation, std::string_view session) {
  Refused key{.uid = uid, .operation = std::string(operation)};
  // A user may have tens of thousands of subordinate ids.
  if (!refusals_.contains(key) && (refusals_.size() >= kMaxUsers || !firsts_.take(TokenBucket::Clock::now()))) {
    key.uid.reset();
  }
  auto [it, first] = refusals_.try_emplace(key);
  if (first) {
    record_refusal(key, pid, std::string(session), std::move(reason), 1);
    arm_interval();
    return;
  }
  ++it->second.unrecorded;
  it->second.last_reason = std::move(reason);
  it->second.last_session = session;
}

void Journal::record_refusal(const Refused& who, pid_t pid, std::string session, std::string reason, uint64_t count) {
  auto event = audit::make_event(audit::Kind::peer_rejected);
  event.uid = who.uid;
  event.peer_uid = who.uid;
  event.pid = pid;
  event.session_id = std::move(session);
  event.operation = who.operation;
  event.decision = "deny";
  event.action = "denied";
  event.reason = std::move(reason);
  event.count = count;
  record(std::move(event));
}

void Journal::arm_interval() {
  if (interval_.active()) return;
  auto timer = loop_.after(kInterval, [this] { end_interval(); });
  if (timer) {
    interval_ = std::move(*timer);
  } else {
    refusals_.clear();  // no memory for a timer: record each rather than none
  }
}

void Journal::end_interval() {
  interval_.reset();
  auto old = std::exchange(refusals_, {});
  for (const auto& [who, refusals] : old) {
    if (refusals.unrecorded > 0) refusals_.try_emplace(who);  // still busy: count on
  }
  record_counted(std::move(old));
  if (!refusals_.empty()) arm_interval();
}

void Journal::record_counted(std::map<Refused, Refusals> refusals) {
  for (auto& [who, counted] : refusals) {
    if (counted.unrecorded == 0) continue;
    record_refusal(who, 0, std::move(counted.last_session), std::move(counted.last_reason), counted.unrecorded);
  }
}

void Journal::arm_retry() {
  if (retry_.active()) return;
  auto timer = loop_.after(kRetry, [this] {
    retry_.reset();
    if (!recorder_.flush()) arm_retry();
  });
  if (timer) retry_ = std::move(*timer);  // else the next event tries again
}

}  // namespace wrapd::daemon
