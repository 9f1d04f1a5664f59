// SPDX-License-Identifier: Apache-2.0
#include "daemon/journal.h"

#include <cstdio>

namespace wrapd::daemon {
namespace {

constexpr size_t kCapacity = 4096;
constexpr size_t kMaxUsers = 4096;
constexpr std::chrono::milliseconds kRetry{250};

}  // namespace

Journal::Journal(EventLoop& loop, std::unique_ptr<audit::Sink> sink)
    : loop_(loop), recorder_(std::move(sink), kCapacity) {}

Journal::~Journal() {
  for (auto& [uid, refusals] : refusals_) {
    if (refusals.unrecorded > 0) record_refusal(uid, 0, std::move(refusals.last_reason), refusals.unrecorded);
  }
  if (!recorder_.flush()) {
    std::fprintf(stderr, "wrapd: %zu audit events could not be recorded before the end\n", recorder_.waiting());
  }
}

void Journal::record(audit::Event event) {
  recorder_.record(std::move(event));
  if (recorder_.waiting() > 0) arm_retry();
}

void Journal::reject(uid_t uid, pid_t pid, std::string reason) {
  std::optional<uid_t> key = uid;
  if (refusals_.size() >= kMaxUsers && !refusals_.contains(key)) key.reset();
  auto [it, first] = refusals_.try_emplace(key);
  if (first) {
    record_refusal(key, pid, std::move(reason), 1);
    arm_interval();
    return;
  }
  ++it->second.unrecorded;
  it->second.last_reason = std::move(reason);
}

void Journal::record_refusal(std::optional<uid_t> uid, pid_t pid, std::string reason, uint64_t count) {
  auto event = audit::make_event(audit::Kind::peer_rejected);
  event.uid = uid;
  event.peer_uid = uid;
  event.pid = pid;
  event.operation = "open";
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
  auto old = std::move(refusals_);
  refusals_.clear();
  for (auto& [uid, refusals] : old) {
    if (refusals.unrecorded == 0) continue;
    record_refusal(uid, 0, std::move(refusals.last_reason), refusals.unrecorded);
    refusals_.try_emplace(uid);  // still busy: count on
  }
  if (!refusals_.empty()) arm_interval();
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
