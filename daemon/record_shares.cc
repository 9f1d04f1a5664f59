// SPDX-License-Identifier: Apache-2.0
#include "daemon/record_shares.h"

#include <algorithm>

#include "audit/budget.h"

namespace wrapd::daemon {

Result<std::unique_ptr<RecordShares>> RecordShares::create(EventLoop& loop, Journal& journal, int runtime_directory) {
  auto allowance = audit::Allowance::open(runtime_directory, "records");
  if (!allowance) return std::unexpected(allowance.error());
  std::unique_ptr<RecordShares> shares(new RecordShares(loop, journal, std::move(*allowance)));
  shares->take_over();
  return shares;
}

// From the service before.
void RecordShares::take_over() {
  for (; next_ < kShared; ++next_) {
    auto uid = allowance_.owner(next_);
    if (!uid) break;
    slots_[*uid] = next_;
  }
  if (!slots_.empty()) watch();
}

RecordShares::~RecordShares() {
  record_losses();
}

size_t RecordShares::slot_of(uid_t uid) {
  watch();
  if (auto known = slots_.find(uid); known != slots_.end()) return known->second;
  if (next_ < kShared) {
    allowance_.give(next_, uid);
    return slots_[uid] = next_++;
  }
  // One that has used nothing lately is as good as new.
  const auto now = std::chrono::steady_clock::now();
  auto spare = std::ranges::find_if(slots_, [&](const auto& entry) { return allowance_.full(entry.second, now); });
  if (spare == slots_.end()) return kShared;
  const size_t slot = spare->second;
  slots_.erase(spare);
  allowance_.give(slot, uid);
  return slots_[uid] = slot;
}

// As long as somebody may have something to count.
void RecordShares::watch() {
  if (timer_.active()) return;
  auto timer = loop_.after(kInterval, [this] {
    timer_.reset();
    if (record_losses()) watch();
  });
  if (timer) timer_ = std::move(*timer);  // else at the next session, or at the end
}

// One record a user, for as many as there are tens of them; the rest is one more.
bool RecordShares::record_losses() {
  constexpr int kMost = 10;
  int records = 0;
  uint64_t others = allowance_.take_unrecorded(kShared);
  auto record = [this](std::optional<uid_t> uid, uint64_t events) {
    auto event = audit::make_event(audit::Kind::events_lost);
    event.uid = uid;
    event.count = events;
    event.reason = audit::kUserLosses;
    journal_.record(std::move(event));
  };
  for (const auto& [uid, slot] : slots_) {
    const uint64_t events = allowance_.take_unrecorded(slot);
    if (events == 0) continue;
    if (++records > kMost) {
      others += events;
    } else {
      record(uid, events);
    }
  }
  if (others > 0) record(std::nullopt, others);
  return records > 0 || others > 0;
}

}  // namespace wrapd::daemon
