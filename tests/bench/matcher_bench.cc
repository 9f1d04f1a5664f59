// SPDX-License-Identifier: Apache-2.0

// What one judgement costs with ten rules and with ten thousand, and what compiling and checking them costs once.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "policy/rules.h"
#include "tests/lib/patterns.h"

namespace wrapd::policy {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

Policy policy_of(int rules) {
  Policy policy;
  policy.name = "bench";
  policy.file = "bench";
  auto& listed = policy.of(Class::unix_socket).rules.emplace();
  for (int i = 0; i < rules; ++i) {
    std::string n = std::to_string(i);
    Rule rule;
    rule.name = "r" + n;
    rule.operations = 7;
    rule.decision = i % 3 == 0 ? Verdict::deny : Verdict::allow;
    switch (i % 4) {
      case 0:
        rule.patterns = patterns({"/srv/service" + n + "/*.sock"});
        break;
      case 1:
        rule.patterns = patterns({"/run/user/*/app" + n + "/**"});
        break;
      case 2:
        rule.patterns = patterns({"/run/literal" + n + ".sock"});
        break;
      default:
        rule.patterns = patterns({"@/tmp/abstract" + n + "/*"});
        break;
    }
    listed.push_back(std::move(rule));
  }
  return policy;
}

// Nanoseconds for one judgement, the best of several rounds.
double judge(const RuleSet& rules, const std::vector<std::string>& names) {
  constexpr int kRounds = 20;
  constexpr int kRepeats = 2000;
  double best = 1e9;
  int64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    auto start = Clock::now();
    for (int i = 0; i < kRepeats; ++i) {
      for (const auto& name : names) sum += rules.judge(with_path(Operation::connect, name)).rule.value_or(1);
    }
    best = std::min(best, microseconds(Clock::now() - start) * 1000 / (kRepeats * static_cast<double>(names.size())));
  }
  // Uses the result, so that the work is not optimised away.
  if (sum == 42) std::puts("");
  return best;
}

int run() {
  std::puts("rules   compile us    open us   block bytes   judge ns");
  for (int count : {10, 100, 1000, 10000}) {
    Policy policy = policy_of(count);
    auto start = Clock::now();
    auto block = compile_rules(policy, {});
    auto compiled = Clock::now();
    if (!block) {
      std::fprintf(stderr, "%s\n", block.error().message.c_str());
      return 1;
    }
    auto opening = Clock::now();
    auto rules = RuleSet::open(*block);
    auto opened = Clock::now();
    if (!rules) {
      std::fprintf(stderr, "%s\n", rules.error().message.c_str());
      return 1;
    }
    std::vector<std::string> names = {"/srv/service8/x.sock", "/run/user/1000/app5/a/b", "/run/literal6.sock",
                                      "/home/someone/.cache/nothing/matches.sock"};
    std::printf("%5d %12.0f %10.0f %13zu %10.0f\n", count, microseconds(compiled - start),
                microseconds(opened - opening), block->size(), judge(*rules, names));
  }
  return 0;
}

}  // namespace
}  // namespace wrapd::policy

int main() {
  return wrapd::policy::run();
}
