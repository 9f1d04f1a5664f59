// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one place where it is decided whether a method runs. Every method of the table is called through here and no
// other way: known sender, bounded number of calls that wait, not confined, the target looked up, polkit. After
// polkit's answer everything is decided again: meanwhile the session may have gone, or the question may have been
// answered.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "daemon/bus/call.h"
#include "daemon/bus/members.h"
#include "daemon/bus/polkit.h"
#include "daemon/bus/senders.h"
#include "daemon/bus/unread.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

class Bouncer {
 public:
  // Calls that are not answered yet: of one user, and of all but root, beyond which each user may have a few.
  static constexpr size_t kMaxWaitingPerUser = 32;
  static constexpr size_t kMaxWaiting = 256;
  static constexpr size_t kFewWaiting = 4;

  Bouncer(ServiceApi& service, Senders& senders, Polkit& polkit, Unread& unread)
      : service_(service), senders_(senders), polkit_(polkit), unread_(unread) {}

  void enter(const Method& method, sdbus::MethodCall message) noexcept;
  [[nodiscard]] size_t waiting() const noexcept { return calls_.size(); }
  // Descriptors that calls of this sender are still going to be answered with.
  [[nodiscard]] size_t descriptors_promised(const std::string& sender) const;

 private:
  // What polkit has granted: this action, for something of this user's.
  struct Grant {
    std::string action;
    uid_t owner = static_cast<uid_t>(-1);
  };
  [[nodiscard]] std::shared_ptr<Call> take(const Method& method, sdbus::MethodCall message);
  void decide(const std::shared_ptr<Call>& call, const std::optional<Grant>& grant);
  // Answers with the error, and has it recorded where something was to be changed.
  void turn_away(const std::shared_ptr<Call>& call, const ApiError& refusal);
  void ask(const std::shared_ptr<Call>& call, Grant wanted, Target target);
  void on_answer(const std::shared_ptr<Call>& call, const Grant& wanted, Authorization answer, const std::string& why);

  ServiceApi& service_;
  Senders& senders_;
  Polkit& polkit_;
  Unread& unread_;
  Quota waiting_;
  uint64_t next_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Call>> calls_;
};

}  // namespace wrapd::daemon::bus
