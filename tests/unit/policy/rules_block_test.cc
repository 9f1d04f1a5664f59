// SPDX-License-Identifier: Apache-2.0

// What RuleSet::open() lets through must be safe to ask, whoever wrote the block. Run under a sanitizer this finds
// reads beyond the block; without one, crashes and endless loops.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "policy/rules_format.h"
#include "policy_testing.h"

namespace wrapd::policy {
namespace {

using namespace format;  // NOLINT(google-build-using-namespace)

std::vector<std::byte> sample() {
  auto policy = make_policy({make_rule("no", {"/run/a", "/run/b*", "@x"}, Verdict::deny),
                             make_rule("yes", {"/run/*/x?z/**", "/r**b", "@a*/b", "${HOME}/**"}, Verdict::allow),
                             make_rule("log", {"/run/a?", "/var/x"}, Verdict::audit, kConnect),
                             make_rule("who", {"/run/w", "/w*"}, Verdict::ask)});
  policy.approval = {.timeout_seconds = 30, .rate = 2, .burst = 3};
  policy.unix_socket_rules->at(0).guidance = "Not here.";
  return Compiled(policy).block();
}

// The block's bytes end where the heap's block ends.
std::vector<std::byte> exact(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

// True if it was let through.
bool open_and_ask(std::span<const std::byte> bytes) {
  auto block = exact(bytes);
  auto rules = RuleSet::open(block);
  if (!rules) return false;
  auto approval = rules->approval();
  EXPECT_LE(approval.timeout_seconds, kMaxApprovalTimeout);
  EXPECT_LE(approval.rate, kMaxApprovalRate);
  EXPECT_LE(approval.burst, kMaxApprovalBurst);
  size_t sum = rules->policy_name().size() + rules->allowed_connect_prefixes().size();
  for (size_t i = 0; i < rules->literal_count(); ++i) {
    auto literal = rules->literal(i);
    for (char c : literal.path) sum += static_cast<unsigned char>(c);
    EXPECT_LT(static_cast<size_t>(literal.rule), rules->rule_count());
  }
  for (auto prefix : rules->allowed_connect_prefixes()) {
    for (char c : prefix) sum += static_cast<unsigned char>(c);
  }
  for (const char* name : {"/run/a", "/run/bxyz", "/run/q/xyz/1/2/3", "/rrrrbbbbrbrbrb", "/home/alice/x", "/", "a/b"}) {
    for (auto operation : {UnixOperation::connect, UnixOperation::bind, UnixOperation::listen}) {
      for (auto v : {rules->judge_path(operation, name), rules->judge_abstract(operation, name)}) {
        if (v.rule < 0) continue;
        EXPECT_LT(static_cast<size_t>(v.rule), rules->rule_count());
        auto rule = rules->rule(v.rule);
        EXPECT_EQ(rule.decision, v.verdict);
        sum += rule.name.size() + rule.guidance.size();
      }
    }
    sum += rules->may_allow_beneath(name) ? 1U : 0U;
  }
  EXPECT_GT(sum, 0U);
  return true;
}

TEST(RulesBlock, IsReadAtAnyAlignment) {
  auto block = sample();
  std::vector<std::byte> shifted = block;
  shifted.insert(shifted.begin(), std::byte{0});
  auto rules = RuleSet::open(std::span(shifted).subspan(1));
  ASSERT_TRUE(rules) << rules.error().message;
  EXPECT_EQ(rules->judge_path(UnixOperation::connect, "/run/a").rule, 0);
}

TEST(RulesBlock, CutOrLengthenedIsRefused) {
  auto block = sample();
  ASSERT_TRUE(open_and_ask(block));
  for (size_t n = 0; n < block.size(); ++n) EXPECT_FALSE(open_and_ask(std::span(block).first(n))) << n;
  block.push_back({});
  EXPECT_FALSE(open_and_ask(block));
}

TEST(RulesBlock, EveryByteToEveryTellingValue) {
  auto block = sample();
  size_t refused = 0;
  size_t accepted = 0;
  for (size_t at = 0; at < block.size(); ++at) {
    auto changed = block;
    for (int value : {0, 1, 2, 3, 4, 7, 8, 0x2f, 0x7f, 0x80, 0xfe, 0xff}) {
      changed[at] = static_cast<std::byte>(value);
      (open_and_ask(changed) ? accepted : refused) += 1;
    }
  }
  EXPECT_GT(refused, 0U);
  EXPECT_GT(accepted, 0U);  // letters in names and labels may change
}

TEST(RulesBlock, RandomDamage) {
  auto block = sample();
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    auto changed = block;
    for (size_t n = 1 + random() % 4; n > 0; --n) {
      size_t at = random() % changed.size();
      if (random() % 2 == 0) {
        changed[at] = static_cast<std::byte>(random() & 0xff);
      } else if (at + 4 <= changed.size()) {
        static constexpr uint32_t kTelling[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
        store(changed.data() + at, kTelling[random() % std::size(kTelling)]);
      }
    }
    open_and_ask(changed);
  }
}

struct Damage {
  const char* what;
  void (*apply)(std::vector<std::byte>&, const Layout&);
  const char* message;
};

TEST(RulesBlock, NamesWhatIsWrong) {
  const Damage cases[] = {
      {"magic", [](auto& b, const auto&) { b[0] = {}; }, "not compiled rules"},
      {"version", [](auto& b, const auto&) { b[kHeaderVersion] = std::byte{1}; }, "another version's"},
      {"size", [](auto& b, const auto&) { store(b.data() + kHeaderSize, uint32_t{60}); }, "wrong size"},
      {"nodes", [](auto& b, const auto&) { store(b.data() + kHeaderNodes, uint32_t{0xffffffff}); }, "wrong size"},
      {"mode", [](auto& b, const auto&) { b[kHeaderMode] = std::byte{3}; }, "unknown mode"},
      {"flag", [](auto& b, const auto&) { b[kHeaderJudges] = std::byte{2}; }, "unknown flag"},
      {"name", [](auto& b, const auto&) { store(b.data() + kHeaderNameOffset, uint32_t{0xffffffff}); },
       "bad policy name"},
      {"empty name", [](auto& b, const auto&) { store(b.data() + kHeaderNameLength, uint32_t{0}); }, "bad policy name"},
      {"escape in a rule's name", [](auto& b, const auto& l) { b[l.strings + 4] = std::byte{0x1b}; }, "bad rule name"},
      {"decision", [](auto& b, const auto& l) { b[l.rules + kRuleBytes + 16] = std::byte{4}; }, "unknown decision"},
      {"timeout", [](auto& b, const auto&) { store(b.data() + kHeaderApprovalTimeout, uint32_t{3601}); },
       "approval out of range"},
      {"rate", [](auto& b, const auto&) { store(b.data() + kHeaderApprovalRate, uint16_t{101}); },
       "approval out of range"},
      {"burst", [](auto& b, const auto&) { store(b.data() + kHeaderApprovalBurst, uint16_t{0xffff}); },
       "approval out of range"},
      {"back edge", [](auto& b, const auto& l) { store(b.data() + l.nodes + 2 * kNodeBytes, uint32_t{0}); },
       "bad children"},
      {"accept", [](auto& b, const auto& l) { store(b.data() + l.nodes + kNodeAccept, uint32_t{1000}); }, "bad accept"},
      {"accept's rule", [](auto& b, const auto& l) { store(b.data() + l.accepts + 4, uint32_t{4}); }, "bad accept"},
      {"literal's rule", [](auto& b, const auto& l) { store(b.data() + l.literals + 8, uint32_t{1}); }, "bad literal"},
      {"prefix", [](auto& b, const auto& l) { store(b.data() + l.prefixes, uint32_t{0xffffff}); }, "bad prefix"},
      {"root's kind", [](auto& b, const auto& l) { b[l.nodes + kNodeKind] = std::byte{kGlobstar}; }, "bad root"},
      {"summary", [](auto& b, const auto& l) { b[l.nodes + kNodeKind] ^= std::byte{kMayAllowConnect}; }, "bad summary"},
  };
  for (const auto& c : cases) {
    auto block = sample();
    auto count = [&](size_t at) { return load<uint32_t>(block.data() + at); };
    Layout l = layout(count(kHeaderNodes), count(kHeaderAccepts), count(kHeaderRules), count(kHeaderLiterals),
                      count(kHeaderPrefixes), count(kHeaderStrings));
    ASSERT_EQ(l.end, block.size());
    c.apply(block, l);
    auto rules = RuleSet::open(block);
    ASSERT_FALSE(rules) << c.what;
    EXPECT_THAT(rules.error().message, testing::HasSubstr(c.message)) << c.what;
  }
}

}  // namespace
}  // namespace wrapd::policy
