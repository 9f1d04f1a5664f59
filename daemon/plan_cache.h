// SPDX-License-Identifier: Apache-2.0
#pragma once

// Compiled policies, ready to be handed to supervisors: the same policy for callers with the same variables is compiled
// once, and its sessions share the pages of the same sealed memfds. Compiling happens on a thread, so that a large
// policy delays nobody else. Bounded by number and by bytes; the least recently used goes first.
//
// Where a plan depends on who can make names in a directory, that is looked up only for directories that stand in the
// policy as such. What a variable stands for is the user's, or the user's word: others than root can make names there,
// and nothing is looked up.

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/caller.h"
#include "daemon/catalogue.h"
#include "daemon/worker.h"
#include "plan/plan.h"

namespace wrapd::daemon {

// The directories that a policy's patterns name before their first wildcard or variable, and those above them.
[[nodiscard]] std::set<std::string, std::less<>> directories_as_written(const policy::Policy& policy);

struct PreparedPlan {
  UniqueFd rules;   // sealed memfd, policy::RuleSet
  UniqueFd filter;  // sealed memfd, array of sock_filter; one instruction (allow) where nothing is filtered
  plan::Confinement confinement;
  size_t bytes = 0;
};

// Compiles and seals. Pure but for the memfds.
[[nodiscard]] Result<std::shared_ptr<const PreparedPlan>> prepare_plan(const policy::Policy& policy,
                                                                       const policy::Variables& variables,
                                                                       plan::TrapSet narrow,
                                                                       const plan::OthersMayCreate& others_may_create);

class PlanCache {
 public:
  using Prepared = Result<std::shared_ptr<const PreparedPlan>>;
  using Callback = std::function<void(const Prepared&)>;

  struct Limits {
    size_t entries = 64;
    size_t bytes = 256U << 20;
  };
  [[nodiscard]] static Result<std::unique_ptr<PlanCache>> create(EventLoop& loop, Limits limits);

  // Calls `done` at once if the plan is known, else later, on the loop's thread. Only the variables that the policy
  // uses may be set: the others would make equal plans look different.
  void get(const std::shared_ptr<const CataloguePolicy>& policy, const policy::Variables& variables,
           plan::TrapSet narrow, const CallerPlace& place, Callback done);
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const CataloguePolicy> policy;  // keeps the address in the key from being used again
    std::shared_ptr<const PreparedPlan> plan;
  };
  explicit PlanCache(Limits limits) : limits_(limits) {}
  void answer(const std::string& key, std::shared_ptr<const CataloguePolicy> policy, const Prepared& prepared);
  void keep(Entry entry);

  Limits limits_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  std::unordered_map<std::string, std::vector<Callback>> waiting_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace wrapd::daemon
