// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a session may write to the journal, so that no program pushes others' records out of it:
//
//  * The first refusals of each kind (operation, action, reason and rule) always. The number of kinds is bounded.
//  * Everything else out of a budget of bytes that is filled slowly, and out of the allowance that all sessions of the
//    user share.
//
// What does not fit is counted, and the count is recorded at intervals that double, and at the end.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "audit/allowance.h"
#include "audit/event.h"
#include "base/token_bucket.h"

namespace wrapd::audit {

// Reason of an event about what no session of a user could record.
inline constexpr const char* kUserLosses = "more than the sessions of a user may write to the journal";

class Budget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr double kRate = 100;          // bytes a second
  static constexpr double kBurst = 512U << 10;  // bytes
  static constexpr unsigned kFirstOfAKind = 3;
  static constexpr size_t kMostKinds = 64;
  static constexpr std::chrono::seconds kFirstReport{1};
  static constexpr std::chrono::seconds kLastReport{600};

  struct Share {
    Allowance allowance;
    size_t slot = Allowance::kEverybody;
    bool of_all = true;  // counts also against what all users have
  };
  // Without a share the session is alone.
  explicit Budget(std::optional<Share> share) : share_(std::move(share)) {}

  // True: to be recorded. False: it is counted.
  [[nodiscard]] bool admits(const Event& event, Clock::time_point now);
  // An event about what was counted since the last one, if it is time for one (or `at_the_end`).
  [[nodiscard]] std::optional<Event> losses(Clock::time_point now, bool at_the_end);
  // The same about what sessions of this user could not even count in a record any more.
  [[nodiscard]] std::optional<Event> losses_of_the_user(Clock::time_point now);
  [[nodiscard]] std::optional<Clock::time_point> next_report() const;
  [[nodiscard]] uint64_t lost() const { return lost_; }  // since the start

 private:
  [[nodiscard]] bool fits(const Event& event, Clock::time_point now);
  // How many of its kind were recorded because they are the first; null: it is none of these.
  [[nodiscard]] unsigned* among_the_first(const Event& event);
  [[nodiscard]] bool take(uint64_t bytes, Allowance::Use use, Clock::time_point now);

  std::optional<Share> share_;
  TokenBucket bucket_{kRate, kBurst};
  std::unordered_map<std::string, unsigned> kinds_;
  uint64_t lost_ = 0;
  uint64_t unreported_ = 0;
  std::optional<Clock::time_point> next_report_;
  std::chrono::seconds interval_ = kFirstReport;
};

}  // namespace wrapd::audit
