// SPDX-License-Identifier: Apache-2.0

// Any bytes as a policy: an error of the promised form, or a policy that compiles to rules that can be asked.

#include <cstdlib>
#include <string_view>

#include "policy/rules.h"
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
  require(rules->judges_unix_sockets() == policy->judges_unix_sockets());
  for (size_t i = 0; i < rules->literal_count(); ++i) {
    auto literal = rules->literal(i);
    require(rules->judge_path(UnixOperation::connect, literal.path).rule == literal.rule);
  }
  for (std::string_view name : {"/run/a", "/h/x", "/c", "/tmp/.X11-unix/X0"}) {
    auto v = rules->judge_path(UnixOperation::connect, name);
    if (v.verdict != Verdict::deny && rules->judges_unix_sockets()) require(rules->may_allow_beneath(name));
    auto a = rules->judge_abstract(UnixOperation::connect, name);
    if (a.verdict != Verdict::deny) require(rules->allows_any_abstract());
  }
  return 0;
}
