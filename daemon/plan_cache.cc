// SPDX-License-Identifier: Apache-2.0
#include "daemon/plan_cache.h"

#include <fcntl.h>
#include <linux/seccomp.h>

#include <algorithm>

#include "base/io.h"
#include "plan/local_mounts.h"
#include "plan/others_may_create.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kThreads = 2;
constexpr size_t kQueue = 1024;

std::string cache_key(const CataloguePolicy& policy, const policy::Variables& variables, plan::TrapSet narrow,
                      const CallerPlace& place) {
  std::string key = std::to_string(reinterpret_cast<uintptr_t>(&policy)) + " " + place.id;
  key += " " + std::to_string(narrow.number()) + " ";
  for (const auto* value :
       {&variables.home, &variables.cwd, &variables.uid, &variables.user, &variables.xdg_runtime_dir}) {
    key += std::to_string(value->size()) + ":" + *value;
  }
  return key;
}

// For one caller's root. Everything that is not certain to be root's alone is true.
Result<plan::OthersMayCreate> others_may_create_in(const std::shared_ptr<UniqueFd>& root, pid_t pid,
                                                   const policy::Policy& policy) {
  auto directories = directories_as_written(policy);
  if (directories.empty()) return [](std::string_view) { return true; };
  auto mounts = plan::LocalMounts::of(pid);
  if (!mounts) return std::unexpected(mounts.error());
  return [root, directories = std::move(directories), mounts = std::move(*mounts)](std::string_view directory) {
    return !directories.contains(directory) || plan::others_may_create(root->get(), directory, &mounts);
  };
}

}  // namespace

std::set<std::string, std::less<>> directories_as_written(const policy::Policy& policy) {
  std::set<std::string, std::less<>> out;
  policy.for_each_rule([&](const policy::Rule& rule) {
    for (const policy::Pattern& pattern : rule.patterns) {
      if (pattern.abstract) continue;
      const std::string text = pattern.beginning();
      // Each is followed by a slash in the policy itself, so that no variable has a part in its name.
      for (size_t slash = text.rfind('/'); slash != std::string::npos && slash > 0;
           slash = text.rfind('/', slash - 1)) {
        out.insert(text.substr(0, slash));
      }
      if (!text.empty()) out.insert("/");
    }
  });
  return out;
}

PlanCache::Prepared prepare_plan(const policy::Policy& policy, const policy::Variables& variables, plan::TrapSet narrow,
                                 const plan::OthersMayCreate& others_may_create) {
  auto compiled = plan::compile_plan(policy, variables, narrow, others_may_create);
  if (!compiled) return std::unexpected(compiled.error());
  std::vector<sock_filter> program = std::move(compiled->filter);
  if (!compiled->confinement.filtered) program = {sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  auto plan = std::make_shared<PreparedPlan>();
  auto rules = sealed_memfd("wrapd-rules", compiled->rules);
  if (!rules) return std::unexpected(rules.error());
  auto filter = sealed_memfd("wrapd-filter", std::as_bytes(std::span(program)));
  if (!filter) return std::unexpected(filter.error());
  plan->rules = std::move(*rules);
  plan->filter = std::move(*filter);
  plan->confinement = compiled->confinement;
  plan->bytes = compiled->rules.size() + program.size() * sizeof(sock_filter);
  return plan;
}

Result<std::unique_ptr<PlanCache>> PlanCache::create(EventLoop& loop, Limits limits) {
  std::unique_ptr<PlanCache> cache(new PlanCache(limits));
  auto worker = Worker::create(loop, kThreads, kQueue);
  if (!worker) return std::unexpected(worker.error());
  cache->worker_ = std::move(*worker);
  return cache;
}

void PlanCache::get(const std::shared_ptr<const CataloguePolicy>& policy, const policy::Variables& variables,
                    plan::TrapSet narrow, const CallerPlace& place, Callback done) {
  const std::string key = cache_key(*policy, variables, narrow, place);
  if (auto known = by_key_.find(key); known != by_key_.end()) {
    entries_.splice(entries_.begin(), entries_, known->second);
    auto plan = known->second->plan;
    return done(plan);
  }
  auto& waiting = waiting_[key];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;

  auto root = std::make_shared<UniqueFd>(::fcntl(place.root.get(), F_DUPFD_CLOEXEC, 3));
  Result<> submitted;
  if (!*root) {
    submitted = fail_errno("cannot keep the caller's root directory");
  } else {
    submitted = worker_->submit([this, key, policy, variables, narrow, root, pid = place.pid]() -> Worker::Completion {
      auto others = others_may_create_in(root, pid, policy->policy);
      auto prepared =
          others ? prepare_plan(policy->policy, variables, narrow, *others) : Prepared(std::unexpected(others.error()));
      return [this, key, policy, prepared] { answer(key, policy, prepared); };
    });
  }
  if (!submitted) answer(key, nullptr, std::unexpected(submitted.error()));
}

void PlanCache::answer(const std::string& key, std::shared_ptr<const CataloguePolicy> policy,
                       const Prepared& prepared) {
  if (prepared) keep(Entry{.key = key, .policy = std::move(policy), .plan = *prepared});
  auto waiting = std::move(waiting_[key]);
  waiting_.erase(key);
  for (auto& done : waiting) done(prepared);
}

void PlanCache::keep(Entry entry) {
  bytes_ += entry.plan->bytes;
  entries_.push_front(std::move(entry));
  by_key_[entries_.front().key] = entries_.begin();
  while (entries_.size() > 1 && (entries_.size() > limits_.entries || bytes_ > limits_.bytes)) {
    bytes_ -= entries_.back().plan->bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

}  // namespace wrapd::daemon
