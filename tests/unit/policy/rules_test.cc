// SPDX-License-Identifier: Apache-2.0
#include "policy/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "policy/pattern.h"
#include "policy_testing.h"

namespace wrapd::policy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

bool matches(const std::string& pattern, const std::string& name) {
  Compiled rules(make_policy({make_rule("r", {pattern}, Verdict::allow)}));
  auto verdict = name.starts_with('@') ? rules->judge(with_abstract(Operation::connect, name.substr(1)))
                                       : rules->judge(with_path(Operation::connect, name));
  EXPECT_EQ(verdict.rule, verdict.verdict == Verdict::allow ? std::optional(0U) : std::nullopt);
  return verdict.verdict == Verdict::allow;
}

TEST(Pattern, StarStaysWithinAnElement) {
  EXPECT_TRUE(matches("/run/*.sock", "/run/a.sock"));
  EXPECT_TRUE(matches("/run/*.sock", "/run/.sock"));
  EXPECT_TRUE(matches("/run/*.sock", "/run/a.sock.sock"));
  EXPECT_FALSE(matches("/run/*.sock", "/run/a/b.sock"));
  EXPECT_FALSE(matches("/run/*.sock", "/run/a.sock2"));
  EXPECT_TRUE(matches("/run/*/x", "/run/a/x"));
  EXPECT_FALSE(matches("/run/*/x", "/run/a/b/x"));
}

TEST(Pattern, GlobstarCrossesElements) {
  EXPECT_TRUE(matches("/run/**", "/run/a"));
  EXPECT_TRUE(matches("/run/**", "/run/a/b/c"));
  EXPECT_FALSE(matches("/run/**", "/run"));
  EXPECT_FALSE(matches("/run/**", "/runx/a"));
  EXPECT_TRUE(matches("/run/**/x", "/run/a/b/x"));
  EXPECT_FALSE(matches("/run/**/x", "/run/x"));
  EXPECT_TRUE(matches("/run**", "/run"));
  EXPECT_TRUE(matches("/**", "/a"));
}

TEST(Pattern, QuestionMarkIsOneByteButNoSlash) {
  EXPECT_TRUE(matches("/run/a?c", "/run/abc"));
  EXPECT_TRUE(matches("/run/a?c",
                      "/run/a\xff"
                      "c"));
  EXPECT_FALSE(matches("/run/a?c", "/run/ac"));
  EXPECT_FALSE(matches("/run/a?c", "/run/a/c"));
  EXPECT_FALSE(matches("/run/a?c", "/run/abbc"));
}

TEST(Pattern, EscapesAreLiteral) {
  EXPECT_TRUE(matches(R"(/run/\*)", "/run/*"));
  EXPECT_FALSE(matches(R"(/run/\*)", "/run/a"));
  EXPECT_TRUE(matches(R"(/\?\[\]\{\}\$\@\\)", R"(/?[]{}$@\)"));
  EXPECT_TRUE(matches("/a]b}", "/a]b}"));
}

TEST(Pattern, AbstractNamesAreTheirOwnKind) {
  EXPECT_TRUE(matches("@/tmp/.X11-unix/*", "@/tmp/.X11-unix/X0"));
  EXPECT_FALSE(matches("@/tmp/.X11-unix/*", "/tmp/.X11-unix/X0"));
  EXPECT_FALSE(matches("/tmp/**", "@/tmp/a"));
  EXPECT_FALSE(matches("@*", "@a/b"));
  EXPECT_TRUE(matches("@**", "@a/b"));
  EXPECT_TRUE(matches("@**", std::string("@\0\n\xff", 4)));
  EXPECT_TRUE(matches(std::string("@a\0b", 4), std::string("@a\0b", 4)));
  EXPECT_FALSE(matches("@a", std::string("@a\0", 3)));
}

TEST(Pattern, VariablesMatchLiterally) {
  EXPECT_TRUE(matches("${HOME}/a", "/home/alice/a"));
  EXPECT_TRUE(matches("${CWD}/**", "/home/alice/p/x"));
  EXPECT_TRUE(matches("/run/${UID}-${USER}", "/run/1001-alice"));
  EXPECT_TRUE(matches("${XDG_RUNTIME_DIR}/bus", "/run/user/1001/bus"));
  EXPECT_TRUE(matches("@${HOME}", "@/home/alice"));

  Variables odd = alice();
  odd.cwd = "/w/*[?]${HOME}";
  Compiled rules(make_policy({make_rule("r", {"${CWD}/s"}, Verdict::allow)}), odd);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/w/*[?]${HOME}/s")).rule, 0);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/w/x[?]${HOME}/s")).rule, std::nullopt);
}

TEST(Pattern, RootAsADirectoryVariable) {
  Variables v = alice();
  v.cwd = "/";
  Compiled rules(make_policy({make_rule("r", {"${CWD}/a", "${CWD}b"}, Verdict::allow)}), v);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/a")).rule, 0);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/b")).rule, 0);
}

struct BadValue {
  const char* pattern;
  Variables variables;
  const char* message;
};

TEST(Pattern, BadValuesOfVariablesAreErrorsWithTheRulesLine) {
  auto with = [](auto change) {
    Variables v = alice();
    change(v);
    return v;
  };
  const BadValue cases[] = {
      {"${HOME}/a", with([](auto& v) { v.home = ""; }), "${HOME} has no value for this user"},
      {"${HOME}/a", with([](auto& v) { v.home = "home"; }), "${HOME} is 'home', which is not an absolute path"},
      {"${CWD}/a", with([](auto& v) { v.cwd = "(unreachable)/a"; }), "which is not an absolute path"},
      {"${CWD}/a", with([](auto& v) { v.cwd = "/a/../b"; }), "'.' and '..' never occur"},
      {"${CWD}/a", with([](auto& v) { v.cwd = "/a//b"; }), "'//' never occurs"},
      {"${CWD}/a", with([](auto& v) { v.cwd = std::string("/a\0b", 4); }), "NUL"},
      {"/x/${USER}", with([](auto& v) { v.user = ".."; }), "'.' and '..' never occur"},
      {"/x/${USER}/y", with([](auto& v) { v.user = ""; }), "${USER} has no value"},
      {"${CWD}", with([](auto& v) { v.cwd = "/"; }), "'/' alone"},
  };
  for (const auto& c : cases) {
    auto rule = make_rule("r", {c.pattern}, Verdict::allow);
    rule.line = 7;
    auto block = compile_rules(make_policy({rule}), c.variables);
    ASSERT_FALSE(block) << c.pattern;
    EXPECT_THAT(block.error().message, HasSubstr("test.yaml:7: rule 'r': '"));
    EXPECT_THAT(block.error().message, HasSubstr(c.message));
  }
}

TEST(RuleSet, FirstRuleThatCoversTheOperationWins) {
  Compiled rules(
      make_policy({make_rule("bind-only", {"/run/a"}, Verdict::deny, kBind),
                   make_rule("all", {"/run/*"}, Verdict::audit), make_rule("late", {"/run/a"}, Verdict::deny)}));
  EXPECT_EQ(rules->judge(with_path(Operation::bind, "/run/a")).rule, 0);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/run/a")).rule, 1);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/run/a")).verdict, Verdict::audit);
  EXPECT_EQ(rules->judge(with_path(Operation::listen, "/run/a")).rule, 1);
  EXPECT_EQ(rules->judge(with_path(Operation::bind, "/run/b")).rule, 1);
  EXPECT_EQ(rules->judge(with_path(Operation::bind, "/run/b/c")).rule, std::nullopt);
  EXPECT_EQ(rules->judge(with_path(Operation::bind, "/run/b/c")).verdict, Verdict::deny);
}

TEST(RuleSet, TellsWhatThePolicySays) {
  auto policy = make_policy({make_rule("a", {"/a"}, Verdict::audit)});
  policy.of(Class::unix_socket).rules->at(0).guidance = "Ask.";
  policy.monitor_unsupported = true;
  policy.mode = Mode::audit;
  Compiled rules(policy);
  EXPECT_EQ(rules->policy_name(), "test");
  EXPECT_EQ(rules->mode(Class::unix_socket), Mode::audit);
  EXPECT_TRUE(rules->monitor_unsupported());
  EXPECT_TRUE(rules->judges(Class::unix_socket));
  ASSERT_EQ(rules.rule_count(), 1U);
  EXPECT_EQ(rules.rule(0).name, "a");
  EXPECT_EQ(rules.rule(0).guidance, "Ask.");
  EXPECT_EQ(rules.rule(0).decision, Verdict::audit);
}

TEST(RuleSet, EmptyListDeniesAndNoListDoesNotJudge) {
  Compiled empty(make_policy({}));
  EXPECT_EQ(empty->judge(with_path(Operation::connect, "/a")).verdict, Verdict::deny);
  EXPECT_EQ(empty->judge(with_abstract(Operation::connect, "a")).verdict, Verdict::deny);
  EXPECT_FALSE(empty.sockets().may_allow_beneath("/"));
  EXPECT_FALSE(empty.sockets().allows_any_abstract());
  EXPECT_THAT(empty.sockets().allowed_directories(), IsEmpty());

  for (auto change :
       {+[](Policy& p) { p.of(Class::unix_socket).rules.reset(); }, +[](Policy& p) { p.seccomp_enabled = false; },
        +[](Policy& p) { p.mode = Mode::disabled; }, +[](Policy& p) { p.of(Class::unix_socket).enabled = false; }}) {
    auto policy = make_policy({make_rule("a", {"/a"}, Verdict::deny)});
    change(policy);
    Compiled none(policy);
    EXPECT_FALSE(none->judges(Class::unix_socket));
    EXPECT_EQ(none->judge(with_path(Operation::connect, "/a")).verdict, Verdict::allow);
    EXPECT_EQ(none->judge(with_path(Operation::connect, "/a")).rule, std::nullopt);
    EXPECT_EQ(none->judge(with_abstract(Operation::bind, "a")).verdict, Verdict::allow);
    EXPECT_TRUE(none.sockets().may_allow_beneath("/x"));
    EXPECT_TRUE(none.sockets().allows_any_abstract());
    EXPECT_THAT(none.sockets().allowed_directories(), ElementsAre("/"));
    EXPECT_EQ(none.sockets().literal_count(), 0U);
  }
}

TEST(RuleSet, WhatCannotBeJudgedIsDenied) {
  Compiled rules(make_policy({make_rule("a", {"/**", "@**"}, Verdict::allow)}));
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/" + std::string(4095, 'a'))).verdict, Verdict::allow);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/" + std::string(4096, 'a'))).verdict, Verdict::deny);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "a")).verdict, Verdict::deny);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "")).verdict, Verdict::deny);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, std::string_view("/a\0b", 4))).verdict, Verdict::deny);
  EXPECT_EQ(rules->judge(with_abstract(Operation::connect, std::string(4097, 'a'))).verdict, Verdict::deny);
}

TEST(RuleSet, TooManyWildcardsAliveDeny) {
  // Every prefix of the name is followed by a star of its own.
  std::vector<std::string> paths;
  for (size_t i = 1; i <= 600; ++i) paths.push_back("/" + std::string(i, 'a') + "*");
  Compiled rules(make_policy({make_rule("a", paths, Verdict::allow)}));
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/" + std::string(400, 'a'))).verdict, Verdict::allow);
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/" + std::string(600, 'a'))).verdict, Verdict::deny);
  EXPECT_TRUE(rules.sockets().may_allow_beneath("/" + std::string(600, 'a')));
  // The scratch space is good again afterwards.
  EXPECT_EQ(rules->judge(with_path(Operation::connect, "/ab")).rule, 0);
}

TEST(RuleSet, MayAllowBeneath) {
  Compiled rules(make_policy(
      {make_rule("no", {"/run/deny/**"}, Verdict::deny), make_rule("bind", {"/bind/**"}, Verdict::allow, kBind),
       make_rule("a", {"/run/a/b.sock", "/home/*/x/*"}, Verdict::allow),
       make_rule("b", {"/srv/**"}, Verdict::audit, kConnect), make_rule("ask", {"/ask/x"}, Verdict::ask)}));
  for (const char* yes : {"/ask", "/ask/x", "/", "/run", "/run/a", "/run/a/", "/run/a/b.sock", "/home", "/home/me",
                          "/home/me/x", "/srv", "/srv/deep/er"}) {
    EXPECT_TRUE(rules.sockets().may_allow_beneath(yes)) << yes;
  }
  for (const char* no : {"/run/deny", "/run/deny/x", "/bind", "/bind/x", "/run/a/b", "/run/ab", "/ru", "/home/me/y",
                         "/home/me/x/y/z", "/etc"}) {
    EXPECT_FALSE(rules.sockets().may_allow_beneath(no)) << no;
  }
  EXPECT_TRUE(rules.sockets().may_allow_beneath("/" + std::string(5000, 'x')));
}

TEST(RuleSet, AllowsAnyAbstract) {
  auto allows = [](Rule rule) { return Compiled(make_policy({std::move(rule)})).sockets().allows_any_abstract(); };
  EXPECT_TRUE(allows(make_rule("a", {"@a"}, Verdict::allow)));
  EXPECT_TRUE(allows(make_rule("a", {"@a/*"}, Verdict::audit, kConnect)));
  EXPECT_TRUE(allows(make_rule("a", {"@a"}, Verdict::ask)));
  EXPECT_FALSE(allows(make_rule("a", {"@a"}, Verdict::allow, kBind)));
  EXPECT_FALSE(allows(make_rule("a", {"@**"}, Verdict::deny)));
  EXPECT_FALSE(allows(make_rule("a", {"/a"}, Verdict::allow)));
}

TEST(RuleSet, PrefixesEndBeforeTheFirstWildcard) {
  Compiled rules(
      make_policy({make_rule("a", {"/run/a/b.sock"}, Verdict::allow),
                   make_rule("b", {"/run/b/*.sock", "/run/c/**", "/run/d*"}, Verdict::audit),
                   make_rule("c", {"/top", "/*/x"}, Verdict::allow), make_rule("d", {"/bind/x"}, Verdict::allow, kBind),
                   make_rule("e", {"/deny/x"}, Verdict::deny), make_rule("f", {"@/abstract/x"}, Verdict::allow),
                   make_rule("g", {"/ask/x"}, Verdict::ask)}));
  EXPECT_THAT(rules.sockets().allowed_directories(),
              ElementsAre("/", "//", "/ask", "/run", "/run/a", "/run/b", "/run/c/"));
}

TEST(RuleSet, KeptNames) {
  Compiled rules(
      make_policy({make_rule("open", {"/a/open/**"}, Verdict::allow), make_rule("no", {"/a/b/s"}, Verdict::deny),
                   make_rule("ask", {"/c/d*/e/s"}, Verdict::ask), make_rule("bind", {"/f/s"}, Verdict::deny, kBind),
                   make_rule("listen", {"/a/b"}, Verdict::deny, kListen)}));
  auto names = rules.sockets().kept_names(1 << 20);
  ASSERT_TRUE(names);
  std::map<std::pair<std::string, bool>, uint32_t> found;
  for (const auto& name : *names) found[{name.path, name.leads}] = name.rule;
  EXPECT_EQ(found.size(), names->size());
  const std::map<std::pair<std::string, bool>, uint32_t> wanted{
      {{"/a", true}, 1}, {{"/a/b", true}, 1}, {{"/a/b", false}, 4}, {{"/a/b/s", false}, 1}, {{"/c", true}, 2}};
  EXPECT_EQ(found, wanted);
  EXPECT_FALSE(rules.sockets().kept_names(100));
}

TEST(RuleSet, LiteralsAreDeniedOrAskedPathsWithoutWildcards) {
  Compiled rules(
      make_policy({make_rule("open", {"/run/open"}, Verdict::allow),
                   make_rule("no", {"/run/a", "/run/*", "@x", "${HOME}/s", "/run/open"}, Verdict::deny),
                   make_rule("bind", {"/run/b"}, Verdict::deny, kBind), make_rule("again", {"/run/a"}, Verdict::deny),
                   make_rule("ask", {"/run2/ask", "/run2/*"}, Verdict::ask)}));
  ASSERT_EQ(rules.sockets().literal_count(), 3U);
  EXPECT_EQ(rules.sockets().literal(2).path, "/run2/ask");
  EXPECT_EQ(rules.sockets().literal(2).rule, 4);
  EXPECT_EQ(rules.sockets().literal(0).path, "/run/a");
  EXPECT_EQ(rules.sockets().literal(0).rule, 1);
  EXPECT_EQ(rules.sockets().literal(1).path, "/home/alice/s");
  EXPECT_EQ(rules.sockets().literal(1).rule, 1);
}

// The obvious way: try every rule in turn, with backtracking over its pattern.
bool slow_match(std::span<const Token> pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  auto rest = pattern.subspan(1);
  switch (pattern.front().kind) {
    case TokenKind::byte:
      return !name.empty() && static_cast<uint8_t>(name.front()) == pattern.front().value &&
             slow_match(rest, name.substr(1));
    case TokenKind::any_byte:
      return !name.empty() && name.front() != '/' && slow_match(rest, name.substr(1));
    case TokenKind::star:
    case TokenKind::globstar:
      for (size_t n = 0; n <= name.size(); ++n) {
        if (slow_match(rest, name.substr(n))) return true;
        if (n < name.size() && name[n] == '/' && pattern.front().kind == TokenKind::star) return false;
      }
      return false;
    case TokenKind::variable:
      break;
  }
  ADD_FAILURE() << "unexpanded variable";
  return false;
}

struct SlowRule {
  std::vector<Pattern> patterns;
  uint32_t operations;
};

std::optional<uint32_t> slow_judge(const std::vector<SlowRule>& rules, Operation operation, bool abstract,
                                   std::string_view name) {
  for (size_t i = 0; i < rules.size(); ++i) {
    if ((rules[i].operations & bit(operation)) == 0) continue;
    for (const auto& p : rules[i].patterns) {
      if (p.abstract == abstract && slow_match(p.tokens, name)) return static_cast<uint32_t>(i);
    }
  }
  return std::nullopt;
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  size_t below(size_t n) { return random_() % n; }
  // Few letters, so that patterns overlap.
  std::string name() {
    std::string out = "/";
    for (size_t n = below(9); n > 0; --n) out += "ab/"[below(3)];
    return out;
  }
  std::string pattern() {
    static constexpr const char* kPieces[] = {"a", "b", "a", "b", "/", "/", "*", "**", "?"};
    for (;;) {
      std::string out = below(4) == 0 ? "@/" : "/";
      for (size_t n = 1 + below(7); n > 0; --n) out += kPieces[below(std::size(kPieces))];
      if (parse_pattern(out)) return out;
    }
  }

 private:
  std::mt19937 random_;
};

TEST(RuleSet, AgreesWithTheObviousMatcher) {
  size_t matched = 0;
  size_t compared = 0;
  size_t uniform_said = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    Generator g(seed);
    std::vector<Rule> rules;
    std::vector<SlowRule> slow;
    for (size_t n = 1 + g.below(12); n > 0; --n) {
      auto rule =
          make_rule("r" + std::to_string(n), {}, std::array{Verdict::allow, Verdict::deny, Verdict::ask}[g.below(3)],
                    static_cast<uint32_t>(1 + g.below(7)));
      SlowRule same{{}, rule.operations};
      for (size_t paths = 1 + g.below(3); paths > 0; --paths) {
        rule.patterns.push_back(*parse_pattern(g.pattern()));
        same.patterns.push_back(rule.patterns.back());
      }
      rules.push_back(std::move(rule));
      slow.push_back(std::move(same));
    }
    Compiled fast(make_policy(rules));
    for (size_t i = 0; i < 60; ++i) {
      std::string name = g.name();
      for (auto operation : {Operation::connect, Operation::bind, Operation::listen}) {
        auto path = fast->judge(with_path(operation, name));
        auto abstract = fast->judge(with_abstract(operation, name));
        ASSERT_EQ(path.rule, slow_judge(slow, operation, false, name)) << "seed " << seed << ' ' << name;
        ASSERT_EQ(abstract.rule, slow_judge(slow, operation, true, name)) << "seed " << seed << " @" << name;
        ASSERT_EQ(path.verdict, path.rule ? rules[*path.rule].decision : Verdict::deny);
        matched += path.rule ? 1U : 0U;
        ++compared;
        // Nothing is allowed, or asked about, where the summary says that nothing can be.
        if (operation == Operation::connect && path.verdict != Verdict::deny) {
          for (size_t slash = 0; slash != std::string::npos; slash = name.find('/', slash + 1)) {
            ASSERT_TRUE(fast.sockets().may_allow_beneath(name.substr(0, slash))) << "seed " << seed << ' ' << name;
          }
          auto prefixes = fast.sockets().allowed_directories();
          ASSERT_TRUE(std::ranges::any_of(prefixes, [&](auto p) {
            return p == "/" || p == "//" || name.starts_with(p);
          })) << name;
        }
        // Where all names are said to get one verdict, this one gets it.
        for (size_t slash = 0; slash != std::string::npos; slash = name.find('/', slash + 1)) {
          auto uniform = fast.sockets().uniform_beneath(operation, name.substr(0, slash));
          if (!uniform) continue;
          ++uniform_said;
          ASSERT_EQ(*uniform, path.verdict) << "seed " << seed << ' ' << name << " beneath " << slash;
        }
        if (operation == Operation::connect && abstract.verdict != Verdict::deny) {
          ASSERT_TRUE(fast.sockets().allows_any_abstract());
        }
      }
    }
  }
  EXPECT_GT(uniform_said, compared / 10);
  // The comparison means something only if both outcomes were common.
  EXPECT_GT(matched, compared / 10);
  EXPECT_LT(matched, compared * 9 / 10);
}

TEST(RuleSet, AnObjectOfAnotherClassIsDenied) {
  Compiled rules(make_policy({make_rule("all", {"/**", "@**"}, Verdict::allow)}));
  for (const Object& object :
       {Object(Path{"/a"}), Object(Endpoint{"::1", 1}), Object(Process{true}), Object(Syscall{1})}) {
    const LayerVerdict said = rules->judge({Class::unix_socket, Operation::connect, object});
    EXPECT_EQ(said.verdict, Verdict::deny);
    EXPECT_EQ(said.rule, std::nullopt);
  }
  EXPECT_EQ(rules->judge(with_lost_path(Operation::connect)).verdict, Verdict::allow);
}

TEST(RuleSet, TenThousandRules) {
  std::vector<Rule> rules;
  for (int i = 0; i < 10000; ++i) {
    auto n = std::to_string(i);
    rules.push_back(make_rule("r" + n, {"/srv/" + n + "/*.sock", "/home/*/p" + n + "/**", "@n" + n},
                              i % 2 == 0 ? Verdict::allow : Verdict::deny));
  }
  Compiled fast(make_policy(rules));
  EXPECT_EQ(fast.rule_count(), 10000U);
  EXPECT_EQ(fast->judge(with_path(Operation::connect, "/srv/9998/x.sock")).rule, 9998);
  EXPECT_EQ(fast->judge(with_path(Operation::connect, "/home/me/p777/a/b")).rule, 777);
  EXPECT_EQ(fast->judge(with_path(Operation::connect, "/home/me/p77x/a/b")).rule, std::nullopt);
  EXPECT_EQ(fast->judge(with_abstract(Operation::connect, "n1234")).rule, 1234);
}

TEST(RuleSet, MoreThanABlockHoldsIsRefused) {
  std::vector<Rule> rules;
  for (int i = 0; i < 2000; ++i) rules.push_back(make_rule("r" + std::to_string(i), {}, Verdict::allow));
  for (size_t i = 0; i < rules.size(); ++i) {
    rules[i].patterns = patterns({"/" + std::to_string(i) + "/" + std::string(4000, 'x')});
  }
  auto block = compile_rules(make_policy(rules), alice());
  ASSERT_FALSE(block);
  EXPECT_THAT(block.error().message, HasSubstr("use fewer or shorter"));
}

}  // namespace
}  // namespace wrapd::policy
