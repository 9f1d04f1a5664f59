// SPDX-License-Identifier: Apache-2.0
#include "policy/layers.h"

#include <algorithm>

namespace wrapd::policy {
namespace {

bool enforces(const RuleSet& layer) {
  return layer.judges_unix_sockets() && layer.unix_socket_mode() == Mode::enforce;
}

template <class Judge>
Decision combine(const std::vector<RuleSet>& layers, Judge judge) {
  Decision out{.verdict = Verdict::allow, .recorded = Verdict::allow};
  bool first = true;
  bool from_enforcing = false;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].judges_unix_sockets()) continue;
    LayerVerdict v = judge(layers[i]);
    bool enforcing = enforces(layers[i]);
    if (enforcing) out.verdict = strictest(out.verdict, v.verdict);
    // Of two equally strict, the one that is really in force explains what happened.
    if (first || v.verdict < out.recorded || (v.verdict == out.recorded && enforcing && !from_enforcing)) {
      out.recorded = v.verdict;
      out.layer = static_cast<uint8_t>(i);
      out.rule = v.rule;
      from_enforcing = enforcing;
      first = false;
    }
  }
  return out;
}

}  // namespace

bool Layers::judges_unix_sockets() const {
  return std::ranges::any_of(layers_, [](const RuleSet& l) { return l.judges_unix_sockets(); });
}

bool Layers::audit_only() const {
  return std::ranges::none_of(layers_, enforces);
}

Approval Layers::approval() const {
  Approval strictest;
  auto narrow = [](auto& value, auto other) {
    if (other != 0 && (value == 0 || other < value)) value = other;
  };
  for (const RuleSet& layer : layers_) {
    if (!layer.judges_unix_sockets()) continue;
    Approval said = layer.approval();
    narrow(strictest.timeout_seconds, said.timeout_seconds);
    narrow(strictest.rate, said.rate);
    narrow(strictest.burst, said.burst);
  }
  if (strictest.timeout_seconds == 0) strictest.timeout_seconds = kDefaultApproval.timeout_seconds;
  if (strictest.rate == 0) strictest.rate = kDefaultApproval.rate;
  if (strictest.burst == 0) strictest.burst = kDefaultApproval.burst;
  return strictest;
}

Decision Layers::judge_path(UnixOperation operation, std::string_view path) const {
  return combine(layers_, [&](const RuleSet& layer) { return layer.judge_path(operation, path); });
}

Decision Layers::judge_any_path(UnixOperation operation) const {
  return combine(layers_, [&](const RuleSet& layer) {
    return LayerVerdict{layer.uniform_beneath(operation, "/").value_or(Verdict::deny), -1};
  });
}

Decision Layers::judge_abstract(UnixOperation operation, std::string_view name) const {
  return combine(layers_, [&](const RuleSet& layer) { return layer.judge_abstract(operation, name); });
}

}  // namespace wrapd::policy
