// SPDX-License-Identifier: Apache-2.0
#include "policy/layers.h"

#include <algorithm>

namespace wrapd::policy {

bool Layers::judges(Class c) const {
  return std::ranges::any_of(layers_, [&](const RuleSet& layer) { return layer.judges(c); });
}

bool Layers::audit_only(Class c) const {
  return std::ranges::none_of(layers_, [&](const RuleSet& layer) { return layer.enforces(c); });
}

Approval Layers::approval() const {
  Approval strictest;
  auto narrow = [](auto& value, auto other) {
    if (other != 0 && (value == 0 || other < value)) value = other;
  };
  for (const RuleSet& layer : layers_) {
    if (!layer.judges_anything()) continue;
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

Decision Layers::judge(const Request& request) const {
  const Class c = request.of_class;
  Decision out{.verdict = Verdict::allow, .recorded = Verdict::allow, .of_class = c, .layer = {}, .rule = {}};
  bool from_enforcing = false;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const RuleSet& layer = layers_[i];
    if (!layer.judges(c)) continue;
    const LayerVerdict said = layer.judge(request);
    const bool enforcing = layer.enforces(c);
    if (enforcing) out.verdict = strictest(out.verdict, said.verdict);
    // Of two equally strict, the one that is really in force explains what happened.
    if (!out.layer || said.verdict < out.recorded || (said.verdict == out.recorded && enforcing && !from_enforcing)) {
      out.recorded = said.verdict;
      out.layer = static_cast<uint8_t>(i);
      out.rule = said.rule;
      from_enforcing = enforcing;
    }
  }
  return out;
}

Decision Layers::refusal_by(Class c, size_t layer, Verdict verdict, std::optional<uint32_t> rule) const {
  return {.verdict = layers_[layer].enforces(c) ? verdict : Verdict::allow,
          .recorded = verdict,
          .of_class = c,
          .layer = static_cast<uint8_t>(layer),
          .rule = rule};
}

const RuleSet* Layers::layer_of(const Decision& decision) const {
  return decision.layer && *decision.layer < layers_.size() ? &layers_[*decision.layer] : nullptr;
}

std::optional<RuleView> Layers::rule_of(const Decision& decision) const {
  const RuleSet* layer = layer_of(decision);
  if (layer == nullptr || !decision.rule) return std::nullopt;
  const auto& section = layer->section(decision.of_class);
  if (!section || *decision.rule >= section->rule_count()) return std::nullopt;
  return section->rule(*decision.rule);
}

}  // namespace wrapd::policy
