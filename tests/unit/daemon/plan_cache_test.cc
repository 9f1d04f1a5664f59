// SPDX-License-Identifier: Apache-2.0
#include "daemon/plan_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "policy/rules.h"
#include "policyfile/load.h"
#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/hung_file_system.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

constexpr std::string_view kPolicy =
    "version: 1\nname: p\nsandbox: {seccomp: {enabled: true, mode: enforce}}\n"
    "unix_socket_rules:\n  - {name: r, paths: [\"${CWD}/*.sock\"], decision: allow}\n";

std::shared_ptr<const CataloguePolicy> policy(std::string_view text = kPolicy) {
  auto loaded = policyfile::load_policy(text, "p.yaml");
  EXPECT_TRUE(loaded) << loaded.error().message;
  auto entry = std::make_shared<CataloguePolicy>();
  entry->use = variables_used(*loaded);
  entry->policy = std::move(*loaded);
  return entry;
}

class Plans : public ::testing::Test {
 protected:
  void make(PlanCache::Limits limits) {
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop);
    loop_ = std::make_unique<EventLoop>(std::move(*loop));
    auto cache = PlanCache::create(*loop_, limits);
    ASSERT_TRUE(cache);
    cache_ = std::move(*cache);
    place_.root.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    place_.id = "here";
    place_.pid = ::getpid();
  }
  PlanCache::Prepared get(const std::shared_ptr<const CataloguePolicy>& policy, const std::string& cwd,
                          plan::TrapSet narrow = {}) {
    PlanCache::Prepared out;
    bool done = false;
    cache_->get(policy, {.cwd = cwd}, narrow, place_, [&](const PlanCache::Prepared& plan) {
      out = plan;
      done = true;
      loop_->stop();
    });
    if (!done) {
      EXPECT_TRUE(loop_->run());  // once per test: a stopped loop does not run again
    }
    return out;
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<PlanCache> cache_;
  CallerPlace place_;
};

TEST_F(Plans, AreSealedAndComplete) {
  make({});
  auto plan = get(policy(), "/c");
  ASSERT_TRUE(plan) << plan.error().message;
  for (int fd : {(*plan)->rules.get(), (*plan)->filter.get()}) {
    constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    EXPECT_EQ(::fcntl(fd, F_GET_SEALS) & kSeals, kSeals);
  }
  EXPECT_TRUE((*plan)->confinement.filtered);
}

TEST_F(Plans, WithoutAFilterStillHaveAProgram) {
  auto disabled = policy("version: 1\nname: p\nsandbox: {seccomp: {enabled: true, mode: disabled}}\n");
  auto plan = prepare_plan(disabled->policy, {}, {}, [](std::string_view) { return true; });
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE((*plan)->confinement.filtered);
  struct stat st {};
  ASSERT_EQ(::fstat((*plan)->filter.get(), &st), 0);
  EXPECT_EQ(static_cast<size_t>(st.st_size), sizeof(sock_filter));
}

// Several questions at once, one run of the loop.
TEST_F(Plans, AreMadeOnceAndTheOldestGo) {
  make({.entries = 2, .bytes = 1U << 30});
  auto p = policy();
  std::vector<std::shared_ptr<const PreparedPlan>> plans;
  size_t expected = 5;
  auto note = [&](const PlanCache::Prepared& plan) {
    ASSERT_TRUE(plan) << plan.error().message;
    plans.push_back(*plan);
    if (plans.size() == expected) loop_->stop();
  };
  for (const char* cwd : {"/a", "/a", "/b", "/c", "/d"}) cache_->get(p, {.cwd = cwd}, {}, place_, note);
  ASSERT_TRUE(loop_->run());
  std::set<const PreparedPlan*> different;
  for (const auto& plan : plans) different.insert(plan.get());
  EXPECT_EQ(different.size(), 4U) << "/a was made once";
  EXPECT_EQ(cache_->size(), 2U);
}

TEST_F(Plans, TooManyBytesGo) {
  make({.entries = 64, .bytes = 1});
  auto p = policy();
  size_t answers = 0;
  for (const char* cwd : {"/a", "/b", "/c"}) {
    cache_->get(p, {.cwd = cwd}, {}, place_, [&](const PlanCache::Prepared&) {
      if (++answers == 3) loop_->stop();
    });
  }
  ASSERT_TRUE(loop_->run());
  EXPECT_EQ(cache_->size(), 1U) << "the last one is kept: it is in use";
}

TEST_F(Plans, DifferByWhatIsTrappedAndByPlace) {
  make({});
  auto p = policy();
  size_t answers = 0;
  auto note = [&](const PlanCache::Prepared& plan) {
    ASSERT_TRUE(plan);
    if (++answers == 4) loop_->stop();
  };
  cache_->get(p, {.cwd = "/a"}, {}, place_, note);
  cache_->get(p, {.cwd = "/a"}, {plan::TrapGroup::rename_link}, place_, note);
  place_.id = "elsewhere";
  cache_->get(p, {.cwd = "/a"}, {}, place_, note);
  cache_->get(policy(), {.cwd = "/a"}, {}, place_, note);  // same text, read again
  ASSERT_TRUE(loop_->run());
  EXPECT_EQ(cache_->size(), 4U);
}

TEST_F(Plans, ErrorsAreToldAndNotKept) {
  make({});
  auto plan = get(policy(), "");
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("p.yaml:"), std::string::npos) << plan.error().message;
  EXPECT_EQ(cache_->size(), 0U);
}

// Directories of a caller's root that never answer, named by the caller and by the administrator: nobody's session
// waits for them.
TEST_F(Plans, WaitForNoFileSystemOfAUsers) {
  WRAPD_NEEDS_ROOT();
  if (::access("/dev/fuse", F_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
  test::TemporaryDirectory root;
  ASSERT_EQ(::chmod(root.path().c_str(), 0755), 0);
  std::vector<std::unique_ptr<HungFileSystem>> hung;
  for (const char* name : {"/a", "/b", "/c"}) {
    ASSERT_EQ(::mkdir((root.path() + name).c_str(), 0755), 0);
    hung.push_back(std::make_unique<HungFileSystem>(root.path() + name));
    ASSERT_TRUE(hung.back()->mounted()) << std::strerror(errno);
  }
  make({});
  place_.root.reset(::open(root.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto rule = [](const std::string& path) {
    return policy("version: 1\nname: p\nunix_socket_rules:\n  - {name: r, paths: [\"" + path +
                  "\"], operations: [connect], decision: allow}\n");
  };
  size_t answers = 0;
  auto count = [&](const PlanCache::Prepared& plan) {
    ASSERT_TRUE(plan) << plan.error().message;
    if (++answers == 7) loop_->stop();
  };
  for (const char* cwd : {"/a", "/b", "/c/below"}) cache_->get(rule("${CWD}/*.sock"), {.cwd = cwd}, {}, place_, count);
  for (const char* path : {"/a/*.sock", "/b/x", "/c/below/x"}) cache_->get(rule(path), {}, {}, place_, count);
  cache_->get(policy(), {.cwd = "/d"}, {}, place_, count);
  auto given_up = loop_->after(std::chrono::seconds(10), [this] { loop_->stop(); });
  ASSERT_TRUE(given_up && loop_->run());
  EXPECT_EQ(answers, 7U);
}

TEST(Directories, ThatNoVariableHasAPartIn) {
  auto written = policy(
      "version: 1\nname: p\nunix_socket_rules:\n  - {name: r, paths: [\"/run/a/b.sock\", \"/srv/x-${USER}/s\", "
      "\"/opt/*/s\", "
      "\"${CWD}/s\", \"@/abstract/s\"], decision: allow}\n");
  EXPECT_EQ(directories_as_written(written->policy),
            (std::set<std::string, std::less<>>{"/", "/run", "/run/a", "/srv", "/opt"}));
  EXPECT_TRUE(directories_as_written(policy()->policy).empty());
}

TEST(Variables, AreFoundWhereTheyAreUsed) {
  auto use = variables_used(policy()->policy);
  EXPECT_TRUE(use.cwd);
  EXPECT_FALSE(use.passwd() || use.uid || use.xdg_runtime_dir);
}

}  // namespace
}  // namespace wrapd::daemon
