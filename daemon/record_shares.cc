// SPDX-License-Identifier: Apache-2.0
#include "daemon/record_shares.h"

#include <sys/types.h>

#include <algorithm>

#include "audit/budget.h"

namespace wrapd::daemon {

Result<std::unique_ptr<RecordShares>> RecordShares::create(EventLoop& loop, Journal& journal, const Quota& sessions,
                                                           int runtime_directory, std::chrono::milliseconds interval) {
  auto allowance = audit::Allowance::open(runtime_directory, "records");
  if (!allowance) return std::unexpected(allowance.error());
  std::unique_ptr<RecordShares> shares(new RecordShares(loop, journal, sessions, std::move(*allowance), interval));
  shares->take_over();
  return shares;
}

// From the service before.
void RecordShares::take_over() {
  for (; next_ < kShared; ++next_) {
    auto user = allowance_.owner(next_);
    if (!user) break;
    slots_[*user] = next_;
  }
  if (!slots_.empty()) watch();
}

RecordShares::~RecordShares() {
  record_losses();
}

size_t RecordShares::slot_of(uint64_t user) {
  watch();
  if (auto known = slots_.find(user); known != slots_.end()) return known->second;
  if (next_ < kShared) {
    allowance_.give(next_, user);
    return slots_[user] = next_++;
  }
  // One that has used nothing lately, and has no session that could, is as good as new.
  const auto now = std::chrono::steady_clock::now();
  auto spare = std::ranges::find_if(
      slots_, [&](const auto& entry) { return sessions_.of(entry.first) == 0 && allowance_.full(entry.second, now); });
  if (spare == slots_.end()) return kShared;
  const auto [before, slot] = *spare;
  if (const uint64_t events = allowance_.take_unrecorded(slot); events > 0) record(before, events);
  slots_.erase(spare);
  allowance_.give(slot, user);
  return slots_[user] = slot;
}

// As long as somebody may have something to count.
void RecordShares::watch() {
  if (timer_.active()) return;
  auto timer = loop_.after(interval_, [this] {
    timer_.reset();
    if (record_losses() || sessions_.total() > 0) watch();
  });
  if (timer) timer_ = std::move(*timer);  // else at the next session, or at the end
}

void RecordShares::record(std::optional<uint64_t> user, uint64_t events) {
  auto event = audit::make_event(audit::Kind::events_lost);
  if (user && *user < static_cast<uid_t>(-1)) event.uid = static_cast<uid_t>(*user);
  event.count = events;
  event.reason = audit::kUserLosses;
  journal_.record(std::move(event));
}

// One record a user, for so many of them; the rest is one more.
bool RecordShares::record_losses() {
  constexpr int kMost = 10;
  int records = 0;
  uint64_t others = allowance_.take_unrecorded(kShared);
  for (const auto& [user, slot] : slots_) {
    const uint64_t events = allowance_.take_unrecorded(slot);
    if (events == 0) continue;
    if (++records > kMost) {
      others += events;
    } else {
      record(user, events);
    }
  }
  if (others > 0) record(std::nullopt, others);
  return records > 0 || others > 0;
}

}  // namespace wrapd::daemon
