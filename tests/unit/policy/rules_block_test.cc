// SPDX-License-Identifier: Apache-2.0

// What RuleSet::open() lets through must be safe to ask, whoever wrote the block. Run under a sanitizer this finds
// reads beyond the block; without one, crashes and endless loops.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "policy/matcher.h"
#include "policy_testing.h"

namespace wrapd::policy {
namespace {

std::vector<std::byte> sample() {
  auto policy = make_policy({make_rule("no", {"/run/a", "/run/b*", "@x"}, Verdict::deny),
                             make_rule("yes", {"/run/*/x?z/**", "/r**b", "@a*/b", "${HOME}/**"}, Verdict::allow),
                             make_rule("log", {"/run/a?", "/var/x"}, Verdict::audit, kConnect),
                             make_rule("who", {"/run/w", "/w*"}, Verdict::ask)});
  policy.approval = {.timeout_seconds = 30, .rate = 2, .burst = 3};
  policy.of(Class::unix_socket).rules->at(0).guidance = "Not here.";
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
  const UnixSockets sockets(*rules);
  const auto& section = rules->section(Class::unix_socket);
  size_t sum = rules->policy_name().size() + sockets.allowed_directories().size();
  for (uint32_t i = 0; i < sockets.literal_count(); ++i) {
    auto literal = sockets.literal(i);
    for (char c : literal.path) sum += static_cast<unsigned char>(c);
    EXPECT_LT(literal.rule, section->rule_count());
  }
  for (auto directory : sockets.allowed_directories()) {
    for (char c : directory) sum += static_cast<unsigned char>(c);
  }
  if (auto kept = sockets.kept_names(1 << 20)) {
    for (const auto& name : *kept) EXPECT_LT(name.rule, section->rule_count());
  }
  for (const char* name : {"/run/a", "/run/bxyz", "/run/q/xyz/1/2/3", "/rrrrbbbbrbrbrb", "/home/alice/x", "/", "a/b"}) {
    for (auto operation : {Operation::connect, Operation::bind, Operation::listen}) {
      for (auto v : {rules->judge(with_path(operation, name)), rules->judge(with_abstract(operation, name))}) {
        if (!v.rule) continue;
        EXPECT_LT(*v.rule, section->rule_count());
        auto rule = section->rule(*v.rule);
        EXPECT_EQ(rule.decision, v.verdict);
        sum += rule.name.size() + rule.guidance.size();
      }
      sum += sockets.uniform_beneath(operation, name) ? 1U : 0U;
    }
    sum += sockets.may_allow_beneath(name) ? 1U : 0U;
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
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/run/a")).rule, 0);
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

// Where the parts of a block with one section begin.
struct Layout {
  explicit Layout(std::span<const std::byte> block) {
    auto count = [&](size_t at) { return load<uint32_t>(block.data() + at); };
    section = block::kHeaderBytes + count(block::kNameLengthAt);
    rules = section + block::kSectionHeaderBytes;
    matcher = rules + count(section + block::kRulesAt) * block::kRuleBytes;
    nodes = matcher + Matcher::kHeaderBytes;
    accepts = nodes + count(matcher + Matcher::kHeaderNodes) * (Matcher::kNodeBytes + 1);
    counts = accepts + size_t{count(matcher + Matcher::kHeaderAccepts)} * 4 * unix_socket::kOperations.size();
    literals = counts + 8;
    directories = literals + count(counts) * unix_socket::kLiteralBytes;
    strings = directories + count(counts + 4) * unix_socket::kDirectoryBytes;
    end = strings + count(section + block::kStringsAt);
  }
  size_t section, rules, matcher, nodes, accepts, counts, literals, directories, strings, end;
};

struct Damage {
  const char* what;
  void (*apply)(std::vector<std::byte>&, const Layout&);
  const char* message;
};

TEST(RulesBlock, NamesWhatIsWrong) {
  const Damage cases[] = {
      {"magic", [](auto& b, const auto&) { b[0] = {}; }, "not compiled rules"},
      {"version", [](auto& b, const auto&) { b[block::kVersionAt] = std::byte{2}; }, "another version's"},
      {"size", [](auto& b, const auto&) { store(b.data() + block::kSizeAt, uint32_t{60}); }, "wrong size"},
      {"flag", [](auto& b, const auto&) { b[block::kMonitorAt] = std::byte{2}; }, "unknown flag"},
      {"name's length", [](auto& b, const auto&) { store(b.data() + block::kNameLengthAt, uint32_t{0xffffffff}); },
       "bad policy name"},
      {"empty name", [](auto& b, const auto&) { store(b.data() + block::kNameLengthAt, uint32_t{0}); },
       "bad policy name"},
      {"timeout", [](auto& b, const auto&) { store(b.data() + block::kApprovalTimeoutAt, uint32_t{3601}); },
       "approval out of range"},
      {"rate", [](auto& b, const auto&) { store(b.data() + block::kApprovalRateAt, uint16_t{101}); },
       "approval out of range"},
      {"burst", [](auto& b, const auto&) { store(b.data() + block::kApprovalBurstAt, uint16_t{0xffff}); },
       "approval out of range"},
      {"no sections", [](auto& b, const auto&) { b[block::kSectionsAt] = std::byte{0}; }, "wrong size"},
      {"more sections", [](auto& b, const auto&) { b[block::kSectionsAt] = std::byte{2}; }, "wrong size"},
      {"class", [](auto& b, const auto& l) { b[l.section + block::kClassAt] = std::byte{kClasses}; }, "unknown class"},
      {"mode", [](auto& b, const auto& l) { b[l.section + block::kModeAt] = std::byte{2}; }, "unknown mode"},
      {"section's flag", [](auto& b, const auto& l) { b[l.section + block::kZeroAt] = std::byte{1}; }, "unknown flag"},
      {"section's length", [](auto& b, const auto& l) { store(b.data() + l.section + block::kLengthAt, uint32_t{15}); },
       "wrong size"},
      {"long section",
       [](auto& b, const auto& l) { store(b.data() + l.section + block::kLengthAt, uint32_t{0xffffffff}); },
       "wrong size"},
      {"rules", [](auto& b, const auto& l) { store(b.data() + l.section + block::kRulesAt, uint32_t{20001}); },
       "too many rules"},
      {"more rules than bytes",
       [](auto& b, const auto& l) { store(b.data() + l.section + block::kRulesAt, uint32_t{20000}); }, "wrong size"},
      {"strings", [](auto& b, const auto& l) { store(b.data() + l.section + block::kStringsAt, uint32_t{0xffffffff}); },
       "wrong size"},
      {"escape in a rule's name", [](auto& b, const auto& l) { b[l.strings] = std::byte{0x1b}; }, "bad rule name"},
      {"decision", [](auto& b, const auto& l) { b[l.rules + block::kRuleBytes + block::kRuleDecision] = std::byte{4}; },
       "unknown decision"},
      {"nodes", [](auto& b, const auto& l) { store(b.data() + l.matcher, uint32_t{0xffffffff}); }, "wrong size"},
      {"literals", [](auto& b, const auto& l) { store(b.data() + l.counts, uint32_t{0xffffffff}); }, "wrong size"},
      {"back edge", [](auto& b, const auto& l) { store(b.data() + l.nodes + 2 * Matcher::kNodeBytes, uint32_t{0}); },
       "bad children"},
      {"accept", [](auto& b, const auto& l) { store(b.data() + l.nodes + Matcher::kNodeAccept, uint32_t{1000}); },
       "bad accept"},
      {"accept's rule", [](auto& b, const auto& l) { store(b.data() + l.accepts + 4, uint32_t{4}); }, "bad accept"},
      {"literal's rule", [](auto& b, const auto& l) { store(b.data() + l.literals + 8, uint32_t{1}); }, "bad literal"},
      {"literal", [](auto& b, const auto& l) { store(b.data() + l.literals, uint32_t{0xffffff}); }, "bad literal"},
      {"directory", [](auto& b, const auto& l) { store(b.data() + l.directories, uint32_t{0xffffff}); },
       "bad directory"},
      {"root's kind", [](auto& b, const auto& l) { b[l.nodes + Matcher::kNodeKind] = std::byte{Matcher::kGlobstar}; },
       "bad root"},
      {"summary", [](auto& b, const auto& l) { b[l.nodes + Matcher::kNodeKind] ^= std::byte{Matcher::kMarked}; },
       "bad summary"},
  };
  for (const auto& c : cases) {
    auto block = sample();
    const Layout l(block);
    ASSERT_EQ(l.end, block.size());
    c.apply(block, l);
    auto rules = RuleSet::open(block);
    ASSERT_FALSE(rules) << c.what;
    EXPECT_THAT(rules.error().message, testing::HasSubstr(c.message)) << c.what;
  }
}

// The sections are in the order of their classes, each once.
TEST(RulesBlock, ASectionTwiceIsRefused) {
  auto block = sample();
  const Layout l(block);
  std::vector<std::byte> section(block.begin() + static_cast<ptrdiff_t>(l.section), block.end());
  block.insert(block.end(), section.begin(), section.end());
  block[block::kSectionsAt] = std::byte{2};
  store(block.data() + block::kSizeAt, static_cast<uint32_t>(block.size()));
  auto rules = RuleSet::open(block);
  ASSERT_FALSE(rules);
  EXPECT_THAT(rules.error().message, testing::HasSubstr("unknown class"));
}

TEST(RulesBlock, WhatIsNotJudgedHasNoSection) {
  auto policy = make_policy({});
  policy.of(Class::unix_socket).rules.reset();
  Compiled none(policy);
  EXPECT_EQ(none.block().size(), block::kHeaderBytes + policy.name.size());
  EXPECT_FALSE(none->judges_anything());
  EXPECT_EQ(none->mode(Class::unix_socket), Mode::disabled);
}

}  // namespace
}  // namespace wrapd::policy
