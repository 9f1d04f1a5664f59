// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "policy/classes/unix_socket.h"
#include "policy/rules.h"
#include "tests/lib/patterns.h"

namespace wrapd::policy {

inline constexpr uint32_t kConnect = bit(Operation::connect);
inline constexpr uint32_t kBind = bit(Operation::bind);
inline constexpr uint32_t kListen = bit(Operation::listen);
inline constexpr uint32_t kAll = kConnect | kBind | kListen;

inline Rule make_rule(std::string name, const std::vector<std::string>& paths, Verdict decision,
                      uint32_t operations = kAll) {
  return {.name = std::move(name), .patterns = patterns(paths), .operations = operations, .decision = decision};
}

inline Policy make_policy(std::vector<Rule> rules) {
  Policy policy;
  policy.name = "test";
  policy.file = "test.yaml";
  policy.of(Class::unix_socket).rules = std::move(rules);
  return policy;
}

inline Variables alice() {
  return {.home = "/home/alice",
          .cwd = "/home/alice/p",
          .uid = "1001",
          .user = "alice",
          .xdg_runtime_dir = "/run/user/1001"};
}

// A compiled policy with the bytes it borrows.
class Compiled {
 public:
  explicit Compiled(const Policy& policy, const Variables& variables = alice()) {
    auto block = compile_rules(policy, variables);
    if (!block) {
      ADD_FAILURE() << block.error().message;
      return;
    }
    block_ = std::move(*block);
    auto rules = RuleSet::open(block_);
    if (!rules) {
      ADD_FAILURE() << rules.error().message;
      return;
    }
    rules_.push_back(*rules);
  }
  const RuleSet& operator*() const { return rules_.at(0); }
  const RuleSet* operator->() const { return &rules_.at(0); }
  const std::vector<std::byte>& block() const { return block_; }
  [[nodiscard]] UnixSockets sockets() const { return UnixSockets(rules_.at(0)); }
  [[nodiscard]] uint32_t rule_count() const { return rules_.at(0).section(Class::unix_socket)->rule_count(); }
  [[nodiscard]] RuleView rule(uint32_t index) const { return rules_.at(0).section(Class::unix_socket)->rule(index); }

 private:
  std::vector<std::byte> block_;
  std::vector<RuleSet> rules_;  // one, or none after a failure
};

}  // namespace wrapd::policy
