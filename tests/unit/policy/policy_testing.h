// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "policy/rules.h"

namespace wrapd::policy {

inline constexpr uint8_t kConnect = static_cast<uint8_t>(UnixOperation::connect);
inline constexpr uint8_t kBind = static_cast<uint8_t>(UnixOperation::bind);
inline constexpr uint8_t kListen = static_cast<uint8_t>(UnixOperation::listen);
inline constexpr uint8_t kAll = kConnect | kBind | kListen;

inline UnixSocketRule make_rule(std::string name, std::vector<std::string> paths, Verdict decision,
                                uint8_t operations = kAll) {
  return {.name = std::move(name), .paths = std::move(paths), .operations = operations, .decision = decision};
}

inline Policy make_policy(std::vector<UnixSocketRule> rules) {
  Policy policy;
  policy.name = "test";
  policy.file = "test.yaml";
  policy.unix_socket_rules = std::move(rules);
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

 private:
  std::vector<std::byte> block_;
  std::vector<RuleSet> rules_;  // one, or none after a failure
};

}  // namespace wrapd::policy
