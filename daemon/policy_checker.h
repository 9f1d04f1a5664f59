// SPDX-License-Identifier: Apache-2.0
#pragma once

// Says what is wrong with a policy that a user wrote. Root reads no user's rules: the text goes, unread, to a
// wrap-compile that becomes that user, drops every privilege and limits itself before it looks at it
// (client/compile/check.h). A few at once; what takes too long is killed.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"

namespace wrapd::daemon {

class PolicyChecker {
 public:
  static constexpr size_t kMaxText = 60'000;  // bytes; it comes in a message, daemon/bus/admission.h
  static constexpr size_t kMaxOutput = 65536;
  static constexpr size_t kMostPerUser = 2;
  static constexpr size_t kMost = 16;  // of all but root; beyond that each may have one
  static constexpr std::chrono::seconds kDeadline{5};

  PolicyChecker(EventLoop& loop, std::string program);
  ~PolicyChecker();

  // The answer is a line for each thing that is wrong.
  using Done = std::function<void(ApiResult<std::vector<std::string>>)>;
  // `user`: whom the caller counts as (quota.h).
  void check(const PeerCredentials& caller, uint64_t user, std::string_view text, Done done);
  [[nodiscard]] bool idle() const { return checks_.empty(); }

 private:
  struct Check;
  [[nodiscard]] Result<> start(Check& check, const PeerCredentials& caller, std::string_view text);
  void on_exit(uint64_t id);
  void on_deadline(uint64_t id);

  EventLoop& loop_;
  std::string program_;
  Quota running_;
  std::unordered_map<uint64_t, std::unique_ptr<Check>> checks_;
  uint64_t next_ = 1;
};

}  // namespace wrapd::daemon
