// SPDX-License-Identifier: Apache-2.0

// Any bytes as a compiled rules block, as a hostile profile would be: refused, or safe to ask.

#include <algorithm>
#include <cstdlib>
#include <span>

#include "policy/classes/unix_socket.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::policy;
  auto rules = RuleSet::open(std::as_bytes(std::span(data, size)));
  if (!rules) return 0;
  const auto& section = rules->section(Class::unix_socket);
  const uint32_t count = section ? section->rule_count() : 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (section->rule(i).name.empty()) std::abort();
  }
  const UnixSockets sockets(*rules);
  for (uint32_t i = 0; i < sockets.literal_count(); ++i) {
    if (sockets.literal(i).rule >= count || sockets.literal(i).path.empty()) std::abort();
  }
  Approval approval = rules->approval();
  if (approval.timeout_seconds > kMaxApprovalTimeout || approval.rate > kMaxApprovalRate ||
      approval.burst > kMaxApprovalBurst) {
    std::abort();
  }
  (void)sockets.allowed_directories();
  (void)sockets.kept_names(1 << 20);
  (void)sockets.allows_any_abstract();
  for (std::string_view name : {"/run/a", "/run/q/xyz/1/2/3", "/rrrrbbbbrbrbrb", "/home/alice/x", "/"}) {
    for (auto operation : {Operation::connect, Operation::bind, Operation::listen}) {
      for (const Request& request : {with_path(operation, name), with_abstract(operation, name)}) {
        if (rules->judge(request).rule.value_or(0) >= std::max(count, 1U)) std::abort();
      }
      (void)sockets.uniform_beneath(operation, name);
    }
    (void)sockets.may_allow_beneath(name);
  }
  return 0;
}
