// SPDX-License-Identifier: Apache-2.0

// Any bytes as a compiled rules block, as a hostile profile would be: refused, or safe to ask.

#include <cstdlib>
#include <span>

#include "policy/rules.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::policy;
  auto rules = RuleSet::open(std::as_bytes(std::span(data, size)));
  if (!rules) return 0;
  auto count = static_cast<int32_t>(rules->rule_count());
  for (int32_t i = 0; i < count; ++i) {
    if (rules->rule(i).name.empty()) std::abort();
  }
  for (size_t i = 0; i < rules->literal_count(); ++i) {
    if (rules->literal(i).rule >= count || rules->literal(i).path.empty()) std::abort();
  }
  Approval approval = rules->approval();
  if (approval.timeout_seconds > kMaxApprovalTimeout || approval.rate > kMaxApprovalRate ||
      approval.burst > kMaxApprovalBurst) {
    std::abort();
  }
  (void)rules->allowed_connect_prefixes();
  (void)rules->allows_any_abstract();
  for (std::string_view name : {"/run/a", "/run/q/xyz/1/2/3", "/rrrrbbbbrbrbrb", "/home/alice/x", "/"}) {
    for (auto operation : {UnixOperation::connect, UnixOperation::bind, UnixOperation::listen}) {
      if (rules->judge_path(operation, name).rule >= count) std::abort();
      if (rules->judge_abstract(operation, name).rule >= count) std::abort();
    }
    (void)rules->may_allow_beneath(name);
  }
  return 0;
}
