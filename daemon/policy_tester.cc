// SPDX-License-Identifier: Apache-2.0
#include "daemon/policy_tester.h"

#include <climits>
#include <optional>

#include "policy/test_policy.h"
#include "wire/fields.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kThreads = 2;
constexpr size_t kQueue = 1024;
constexpr size_t kMaxAbstract = 107;  // sun_path without its first byte, unix(7)

// As the supervisor finds it at the end of its walk: no "//", no ".", no "..", no slash at the end.
bool is_normal_path(std::string_view path) {
  return wire::is_absolute_path(path) && path.size() > 1 && path.back() != '/' &&
         path.find("//") == std::string_view::npos && !path.ends_with("/.") &&
         path.find("/./") == std::string_view::npos;
}

ApiResult<PolicyVerdict> verdict_of(const policy::Policy& policy, const policy::Variables& variables,
                                    policy::Operation operation, std::string_view target) {
  auto answer = policy::test_policy(policy, variables, policy::with_name(operation, target));
  if (!answer) return std::unexpected(ApiError{"Internal", answer.error().message});
  return PolicyVerdict{.decision = std::string(to_string(answer->decision.verdict)),
                       .rule = std::move(answer->rule),
                       .guidance = std::move(answer->guidance)};
}

}  // namespace

struct PolicyTester::Job {
  std::shared_ptr<const CataloguePolicy> policy;
  policy::Variables variables;
  policy::Operation operation{};
  std::string target;
  Done done;
  uint64_t id = 0;
};

Result<std::unique_ptr<PolicyTester>> PolicyTester::create(EventLoop& loop, UserDirectory& users) {
  std::unique_ptr<PolicyTester> tester(new PolicyTester(users));
  auto worker = Worker::create(loop, kThreads, kQueue);
  if (!worker) return std::unexpected(worker.error());
  tester->worker_ = std::move(*worker);
  return tester;
}

void PolicyTester::test(uid_t uid, uint64_t user, std::shared_ptr<const CataloguePolicy> policy,
                        std::string_view operation, std::string_view target, Done done) {
  auto known = policy::operation_of(operation);
  if (!known) return done(std::unexpected(ApiError{"InvalidArgument", "the operation is connect, bind or listen"}));
  const bool abstract = target.starts_with('@');
  const bool good = abstract ? target.size() > 1 && target.size() <= 1 + kMaxAbstract : is_normal_path(target);
  if (!good) {
    return done(std::unexpected(
        ApiError{"InvalidArgument", "the target is an absolute path without '.', '..' and '//', or @NAME"}));
  }
  if (policy->use.cwd) {
    return done(std::unexpected(
        ApiError{"InvalidArgument",
                 "the policy depends on the working directory (${CWD}); test its file: wrapctl policy test"}));
  }
  if (running_.of(user) >= kMostPerUser) {
    return done(std::unexpected(ApiError{
        "LimitExceeded", "you have " + std::to_string(kMostPerUser) + " tests of policies running; wait for one"}));
  }
  auto job = std::make_shared<Job>(Job{.policy = std::move(policy),
                                       .variables = {},
                                       .operation = *known,
                                       .target = std::string(target),
                                       .done = std::move(done),
                                       .id = next_++});
  tickets_.emplace(job->id, running_.take(user));
  job->variables.uid = std::to_string(uid);
  job->variables.xdg_runtime_dir = "/run/user/" + job->variables.uid;
  if (!job->policy->use.passwd()) return judge(job);
  users_.find(uid, [this, job](const Result<UserEntry>& entry) {
    if (!entry) return finish(job->id, job->done, std::unexpected(ApiError{"Internal", entry.error().message}));
    job->variables.home = entry->home;
    job->variables.user = entry->name;
    judge(job);
  });
}

void PolicyTester::judge(const std::shared_ptr<Job>& job) {
  auto submitted = worker_->submit([this, job]() -> Worker::Completion {
    auto verdict = verdict_of(job->policy->policy, job->variables, job->operation, job->target);
    return [this, job, verdict] { finish(job->id, job->done, verdict); };
  });
  if (!submitted) finish(job->id, job->done, std::unexpected(ApiError{"LimitExceeded", submitted.error().message}));
}

void PolicyTester::finish(uint64_t id, const Done& done, ApiResult<PolicyVerdict> verdict) {
  tickets_.erase(id);
  done(std::move(verdict));
}

}  // namespace wrapd::daemon
