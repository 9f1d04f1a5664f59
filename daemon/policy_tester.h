// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a policy would say to one operation of one user. The rules are compiled for that user on a thread; a few at once
// per user, so that nobody waits for another's curiosity.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "daemon/catalogue.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"
#include "daemon/user_directory.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

class PolicyTester {
 public:
  static constexpr size_t kMostPerUser = 4;

  // `users` is borrowed.
  [[nodiscard]] static Result<std::unique_ptr<PolicyTester>> create(EventLoop& loop, UserDirectory& users);

  using Done = std::function<void(ApiResult<PolicyVerdict>)>;
  // For the caller with this uid, who counts as `user` (quota.h).
  void test(uid_t uid, uint64_t user, std::shared_ptr<const CataloguePolicy> policy, std::string_view operation,
            std::string_view target, Done done);
  [[nodiscard]] bool idle() const { return running_.total() == 0; }

 private:
  struct Job;
  explicit PolicyTester(UserDirectory& users) : users_(users) {}
  void judge(const std::shared_ptr<Job>& job);
  void finish(uint64_t id, const Done& done, ApiResult<PolicyVerdict> verdict);

  UserDirectory& users_;
  Quota running_;
  std::unordered_map<uint64_t, Quota::Ticket> tickets_;  // not with the jobs: a thread may outlive the quota
  uint64_t next_ = 1;
  std::unique_ptr<Worker> worker_;
};

}  // namespace wrapd::daemon
