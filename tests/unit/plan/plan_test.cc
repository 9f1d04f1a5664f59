// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <gtest/gtest.h>
#include <linux/seccomp.h>

#include <string>
#include <vector>

#include "policy/rules.h"
#include "policyfile/load.h"

namespace wrapd::plan {
namespace {

const policy::Variables kAlice{"/home/alice", "/home/alice/project", "1000", "alice", "/run/user/1000"};
const policy::Variables kRoot{"/root", "/root", "0", "root", "/run/user/0"};

policy::Policy load(const std::string& seccomp, const std::string& rules) {
  std::string text = "version: 1\nname: test\nsandbox:\n  seccomp: " + seccomp + "\n";
  if (!rules.empty()) text += "unix_socket_rules: " + rules + "\n";
  Result<policy::Policy> policy = policyfile::load_policy(text, "test.yaml");
  EXPECT_TRUE(policy) << policy.error().message;
  return policy.value_or(policy::Policy{});
}

bool nobody_may(std::string_view /*directory*/) {
  return false;
}
bool everybody_may(std::string_view /*directory*/) {
  return true;
}

Plan compile(const policy::Policy& policy, const OthersMayCreate& others = nobody_may, TrapSet narrow = {},
             const policy::Variables& variables = kAlice) {
  Result<Plan> plan = compile_plan(policy, variables, narrow, others);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan.value_or(Plan{});
}

constexpr TrapSet kAll{TrapGroup::sockets, TrapGroup::socket_creation, TrapGroup::rename_link};
constexpr char kEnforce[] = "{mode: enforce}";
constexpr char kAllowPath[] = "[{name: a, paths: [\"/run/a/*.sock\"], operations: [connect], decision: allow}]";
constexpr char kDenyPath[] = "[{name: a, paths: [\"/run/a/*.sock\"], decision: deny}]";
constexpr char kAllowAbstract[] = "[{name: a, paths: [\"@a*\"], operations: [connect], decision: allow}]";

TEST(PlanTest, NothingIsTrappedThatNobodyJudges) {
  const Plan plan = compile(load(kEnforce, ""), everybody_may);
  EXPECT_EQ(plan.confinement.traps, TrapSet{});
  EXPECT_TRUE(plan.confinement.filtered);
  EXPECT_FALSE(plan.filter.empty());
  EXPECT_TRUE(plan.confinement.scopes.signal);
  EXPECT_FALSE(plan.confinement.scopes.abstract_socket);
  for (const sock_filter& i : plan.filter) EXPECT_FALSE(i.code == (BPF_RET | BPF_K) && i.k == SECCOMP_RET_USER_NOTIF);
}

TEST(PlanTest, RulesTrapUnixSockets) {
  const Plan plan = compile(load(kEnforce, kDenyPath), everybody_may);
  EXPECT_EQ(plan.confinement.traps, kUnixSocketTraps) << "nothing is allowed that something could be renamed to";
  Result<policy::RuleSet> rules = policy::RuleSet::open(plan.rules);
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->policy_name(), "test");
}

TEST(PlanTest, RenamesAreTrappedWhereNamesCanMove) {
  EXPECT_FALSE(compile(load(kEnforce, kAllowPath), nobody_may).confinement.traps.has(TrapGroup::rename_link));
  EXPECT_TRUE(compile(load(kEnforce, kAllowPath), everybody_may).confinement.traps.has(TrapGroup::rename_link));
  EXPECT_TRUE(compile(load(kEnforce, kAllowPath), nobody_may, {}, kRoot).confinement.traps.has(TrapGroup::rename_link));
  EXPECT_FALSE(compile(load(kEnforce, kDenyPath), nobody_may, {}, kRoot).confinement.traps.has(TrapGroup::rename_link));
  std::vector<std::string> asked;
  compile(load(kEnforce, kAllowPath), [&](std::string_view directory) {
    asked.emplace_back(directory);
    return false;
  });
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_TRUE(asked[0].starts_with("/run/a")) << asked[0];
}

// Which directories a wildcard means is not known before the command runs.
TEST(PlanTest, RenamesAreTrappedForWildcardsInDirectories) {
  for (const char* path : {"/srv/home/*/p/*.sock", "/**", "/run/a/**", "/run/?/s", "/run/**.sock"}) {
    const std::string rules =
        std::string("[{name: a, paths: [\"") + path + "\"], operations: [connect], decision: allow}]";
    EXPECT_TRUE(compile(load(kEnforce, rules), nobody_may).confinement.traps.has(TrapGroup::rename_link)) << path;
  }
  EXPECT_TRUE(
      compile(load(kEnforce, "[{name: a, paths: [\"/srv/*/s\"], operations: [listen], decision: ask}]"), nobody_may)
          .confinement.traps.has(TrapGroup::rename_link));
  EXPECT_FALSE(compile(load(kEnforce, "[{name: a, paths: [\"/srv/*/s\"], decision: deny}]"), nobody_may)
                   .confinement.traps.has(TrapGroup::rename_link));
}

// A link in the place of a directory above a denied name would have its server make the socket elsewhere.
TEST(PlanTest, RenamesAreTrappedWhereTheWayToADeniedNameCanBeReplaced) {
  auto in_home = [](std::string_view directory) { return directory.starts_with("/home/alice"); };
  const std::string allow = "{name: a, paths: [\"/run/a/*.sock\"], operations: [connect], decision: allow}";
  auto traps = [&](const char* denied) {
    const std::string rules = std::string("[{name: d, paths: [\"") + denied + "\"], decision: deny}, " + allow + "]";
    return compile(load(kEnforce, rules), in_home).confinement.traps.has(TrapGroup::rename_link);
  };
  EXPECT_TRUE(traps("${HOME}/x/s"));
  EXPECT_TRUE(traps("${HOME}/x/*"));
  EXPECT_FALSE(traps("${HOME}/s")) << "the directory above is root's";
  EXPECT_FALSE(traps("/run/x/s"));
  EXPECT_FALSE(traps("/s"));
}

TEST(PlanTest, AbstractNamesAreScopedWhereNoneCanBeReached) {
  EXPECT_TRUE(compile(load(kEnforce, kAllowPath)).confinement.scopes.abstract_socket);
  EXPECT_FALSE(compile(load(kEnforce, kAllowAbstract)).confinement.scopes.abstract_socket);
  EXPECT_FALSE(compile(load("{mode: audit}", kAllowPath)).confinement.scopes.abstract_socket);
  EXPECT_FALSE(compile(load("{mode: enforce, unix_socket: {enabled: true, action: audit}}", kAllowPath))
                   .confinement.scopes.abstract_socket);
  EXPECT_FALSE(
      compile(load("{mode: enforce, unix_socket: {enabled: false}}", kAllowPath)).confinement.scopes.abstract_socket);
}

TEST(PlanTest, AuditTrapsAsEnforceDoes) {
  const Plan plan = compile(load("{mode: audit}", kAllowPath), everybody_may);
  EXPECT_EQ(plan.confinement.traps, kAll);
  EXPECT_TRUE(plan.confinement.filtered);
}

TEST(PlanTest, DisabledLeavesTheCommandAlone) {
  for (const char* off : {"{mode: disabled}", "{enabled: false}"}) {
    const Plan plan = compile(load(off, kAllowPath), everybody_may);
    EXPECT_FALSE(plan.confinement.filtered) << off;
    EXPECT_TRUE(plan.filter.empty());
    EXPECT_FALSE(plan.confinement.scopes.signal);
    EXPECT_FALSE(plan.confinement.scopes.abstract_socket);
    EXPECT_EQ(plan.confinement.traps, TrapSet{});
  }
}

TEST(PlanTest, AProfileNarrowsWhateverThePolicySays) {
  const TrapSet narrow = kAll;
  for (const char* seccomp : {"{mode: enforce}", "{mode: disabled}"}) {
    const Plan plan = compile(load(seccomp, ""), nobody_may, narrow);
    EXPECT_TRUE(plan.confinement.filtered) << seccomp;
    EXPECT_EQ(plan.confinement.traps, narrow);
    EXPECT_EQ(plan.filter.size(), compile_filter(narrow).size());
  }
  EXPECT_EQ(compile(load(kEnforce, kDenyPath), nobody_may, {TrapGroup::rename_link}).confinement.traps, narrow);
}

TEST(PlanTest, ErrorsOfTheRulesArePassedOn) {
  policy::Variables none = kAlice;
  none.home.clear();
  const policy::Policy policy =
      load(kEnforce, "[{name: a, paths: [\"${HOME}/x\"], operations: [connect], decision: allow}]");
  Result<Plan> plan = compile_plan(policy, none, {}, nobody_may);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("test.yaml:"), std::string::npos) << plan.error().message;
}

// Each scope that either wants is there, and an old kernel is borne only where both bear it.
TEST(ConfinementTest, AProfileNarrows) {
  for (bool mine : {false, true}) {
    for (bool theirs : {false, true}) {
      const Confinement of_both =
          narrowed({.scopes = {.signal = theirs, .abstract_socket = theirs}, .monitor_unsupported = theirs},
                   {.scopes = {.signal = mine, .abstract_socket = mine}, .monitor_unsupported = mine});
      EXPECT_EQ(of_both.scopes.signal, mine || theirs);
      EXPECT_EQ(of_both.scopes.abstract_socket, mine || theirs);
      EXPECT_EQ(of_both.monitor_unsupported, mine && theirs);
    }
  }
  EXPECT_FALSE(narrowed({.filtered = false}, {}).filtered) << "the filter is the service's";
}

}  // namespace
}  // namespace wrapd::plan
