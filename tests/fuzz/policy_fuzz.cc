// SPDX-License-Identifier: Apache-2.0

// Any bytes as a policy: an error of the promised form, or a policy that compiles to rules that can be asked.

#include <cstdlib>
#include <string_view>

#include "policy/classes/unix_socket.h"
#include "policyfile/load.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::policy;
  using wrapd::policyfile::load_policy;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes seen as characters
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto policy = load_policy(text, "F");
  if (!policy) {
    require(policy.error().message.starts_with("F:"));
    require(policy.error().message.find('\n') == std::string::npos);
    return 0;
  }
  const Variables variables = {.home = "/h", .cwd = "/c", .uid = "1", .user = "u", .xdg_runtime_dir = "/run/user/1"};
  auto block = compile_rules(*policy, variables);
  if (!block) return 0;
  auto rules = RuleSet::open(*block);
  require(rules.has_value());
  require(rules->judges(Class::unix_socket) == policy->judges(Class::unix_socket));
  const UnixSockets sockets(*rules);
  for (uint32_t i = 0; i < sockets.literal_count(); ++i) {
    auto literal = sockets.literal(i);
    require(rules->judge(with_path(Operation::connect, literal.path)).rule == literal.rule);
  }
  for (std::string_view name : {"/run/a", "/h/x", "/c", "/tmp/.X11-unix/X0"}) {
    auto v = rules->judge(with_path(Operation::connect, name));
    if (v.verdict != Verdict::deny && sockets.judged()) require(sockets.may_allow_beneath(name));
    auto a = rules->judge(with_abstract(Operation::connect, name));
    if (a.verdict != Verdict::deny) require(sockets.allows_any_abstract());
  }
  return 0;
}
