// SPDX-License-Identifier: Apache-2.0
#include "policy/layers.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "policy_testing.h"

namespace wrapd::policy {
namespace {

// A layer that says one thing about /s, or nothing about unix sockets at all.
Policy layer(std::optional<Verdict> verdict, Mode mode) {
  auto policy = make_policy({make_rule("other", {"/other"}, Verdict::allow)});
  policy.mode = mode;
  if (verdict) {
    policy.of(Class::unix_socket).rules->push_back(make_rule("s", {"/s", "@s"}, *verdict));
  } else {
    policy.of(Class::unix_socket).rules.reset();
  }
  return policy;
}

constexpr auto kSilent = std::nullopt;
constexpr auto kNoLayer = std::nullopt;
constexpr auto kNoRule = std::nullopt;
constexpr auto kDeny = Verdict::deny;
constexpr auto kAsk = Verdict::ask;
constexpr auto kAudit = Verdict::audit;
constexpr auto kAllow = Verdict::allow;
constexpr auto kOn = Mode::enforce;
constexpr auto kLog = Mode::audit;
constexpr auto kOff = Mode::disabled;

struct Case {
  std::optional<Verdict> first;
  Mode first_mode;
  std::optional<Verdict> second;
  Mode second_mode;
  Verdict verdict;
  Verdict recorded;
  std::optional<uint8_t> layer;
  std::optional<uint32_t> rule;
};

TEST(Layers, TheStrictestThatEnforcesDecides) {
  const Case cases[] = {
      {kAllow, kOn, kAllow, kOn, kAllow, kAllow, 0, 1},
      {kAllow, kOn, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kDeny, kOn, kAllow, kOn, kDeny, kDeny, 0, 1},
      {kDeny, kOn, kDeny, kOn, kDeny, kDeny, 0, 1},
      {kAudit, kOn, kAllow, kOn, kAudit, kAudit, 0, 1},
      {kAllow, kOn, kAudit, kOn, kAudit, kAudit, 1, 1},
      {kAudit, kOn, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kAsk, kOn, kAllow, kOn, kAsk, kAsk, 0, 1},
      {kAllow, kOn, kAsk, kOn, kAsk, kAsk, 1, 1},
      {kAsk, kOn, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kAudit, kOn, kAsk, kOn, kAsk, kAsk, 1, 1},
      {kAsk, kLog, kAllow, kOn, kAllow, kAsk, 0, 1},
      {kAsk, kOff, kAllow, kOn, kAllow, kAllow, 1, 1},
      // A layer in audit mode never restricts, but is recorded.
      {kDeny, kLog, kAllow, kOn, kAllow, kDeny, 0, 1},
      {kAllow, kOn, kDeny, kLog, kAllow, kDeny, 1, 1},
      {kAllow, kLog, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kDeny, kLog, kAudit, kOn, kAudit, kDeny, 0, 1},
      {kDeny, kLog, kDeny, kLog, kAllow, kDeny, 0, 1},
      {kAllow, kLog, kAudit, kLog, kAllow, kAudit, 1, 1},
      // Equally strict: the one in force explains it.
      {kDeny, kLog, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kDeny, kOn, kDeny, kLog, kDeny, kDeny, 0, 1},
      // Layers without a say.
      {kSilent, kOn, kAllow, kOn, kAllow, kAllow, 1, 1},
      {kSilent, kOn, kDeny, kOn, kDeny, kDeny, 1, 1},
      {kDeny, kOn, kSilent, kOn, kDeny, kDeny, 0, 1},
      {kDeny, kOff, kAllow, kOn, kAllow, kAllow, 1, 1},
      {kDeny, kOff, kDeny, kOff, kAllow, kAllow, kNoLayer, kNoRule},
      {kSilent, kOn, kSilent, kOn, kAllow, kAllow, kNoLayer, kNoRule},
      {kSilent, kOn, kDeny, kLog, kAllow, kDeny, 1, 1},
  };
  int number = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(number++);
    Compiled first(layer(c.first, c.first_mode));
    Compiled second(layer(c.second, c.second_mode));
    Layers layers;
    layers.add(*first);
    layers.add(*second);
    for (const Decision& d :
         {layers.judge(with_path(Operation::connect, "/s")), layers.judge(with_abstract(Operation::bind, "s"))}) {
      EXPECT_EQ(d.verdict, c.verdict);
      EXPECT_EQ(d.recorded, c.recorded);
      EXPECT_EQ(d.layer, c.layer);
      EXPECT_EQ(d.rule, c.rule);
      EXPECT_EQ(d.permits(), c.verdict == kAllow || c.verdict == kAudit);
    }
    bool judges = (c.first && c.first_mode != kOff) || (c.second && c.second_mode != kOff);
    EXPECT_EQ(layers.judges(Class::unix_socket), judges);
    bool enforces = (c.first && c.first_mode == kOn) || (c.second && c.second_mode == kOn);
    EXPECT_EQ(layers.audit_only(Class::unix_socket), !enforces);
  }
}

TEST(Layers, UnlistedIsDeniedByTheFirstLayerThatDoesNotListIt) {
  Compiled first(layer(kAllow, kOn));
  Compiled second(make_policy({make_rule("s", {"/s"}, Verdict::allow)}));
  Layers layers;
  layers.add(*first);
  layers.add(*second);
  Decision d = layers.judge(with_path(Operation::connect, "/other"));
  EXPECT_EQ(d.verdict, kDeny);
  EXPECT_EQ(d.layer, 1);
  EXPECT_EQ(d.rule, std::nullopt);
}

TEST(Layers, NobodyJudges) {
  Layers layers;
  Decision d = layers.judge(with_path(Operation::connect, "/s"));
  EXPECT_EQ(d.verdict, kAllow);
  EXPECT_EQ(d.recorded, kAllow);
  EXPECT_EQ(d.rule, std::nullopt);
  EXPECT_FALSE(layers.judges(Class::unix_socket));
}

TEST(Layers, TheSmallestLimitsOfQuestionsCount) {
  auto limits = [](Approval first, Mode first_mode, Approval second) {
    Policy one = layer(kAllow, first_mode);
    Policy two = layer(kAllow, kOn);
    one.approval = first;
    two.approval = second;
    Compiled a(one), b(two);
    Layers layers;
    layers.add(*a);
    layers.add(*b);
    Approval out = layers.approval();
    return std::array<unsigned, 3>{out.timeout_seconds, out.rate, out.burst};
  };
  using Said = std::array<unsigned, 3>;
  EXPECT_EQ(limits({}, kOn, {}), (Said{60, 10, 5}));
  EXPECT_EQ(limits({300, 20, 50}, kOn, {}), (Said{300, 20, 50})) << "silence does not narrow";
  EXPECT_EQ(limits({300, 20, 50}, kOn, {30, 0, 60}), (Said{30, 20, 50}));
  EXPECT_EQ(limits({300, 1, 1}, kOff, {600, 20, 6}), (Said{600, 20, 6})) << "who judges nothing asks nothing";
  EXPECT_EQ(limits({300, 1, 0}, kLog, {600, 20, 6}), (Said{300, 1, 6}));
}

}  // namespace
}  // namespace wrapd::policy
