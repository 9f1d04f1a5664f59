// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "policy/decision.h"
#include "policy/rules.h"

namespace wrapd::policy {

// The administrator's policy first, then the user's profile. A further layer can only narrow.
class Layers {
 public:
  void add(RuleSet layer) { layers_.push_back(layer); }
  [[nodiscard]] size_t size() const { return layers_.size(); }
  [[nodiscard]] const RuleSet& layer(size_t index) const { return layers_[index]; }
  [[nodiscard]] bool judges(Class c) const;
  // True if no layer enforces the class: everything is done, and only recorded.
  [[nodiscard]] bool audit_only(Class c) const;

  // The smallest of what the layers that judge say, the defaults where none does.
  [[nodiscard]] Approval approval() const;

  // The strictest of the layers that judge the class; allow where none does.
  [[nodiscard]] Decision judge(const Request& request) const;
  // What one layer's denial (or question) comes to: one that only audits does not keep anything from being done.
  [[nodiscard]] Decision refusal_by(Class c, size_t layer, Verdict verdict, std::optional<uint32_t> rule) const;

  // The layer, and its rule, that a decision names; nothing where it names none.
  [[nodiscard]] const RuleSet* layer_of(const Decision& decision) const;
  [[nodiscard]] std::optional<RuleView> rule_of(const Decision& decision) const;

 private:
  std::vector<RuleSet> layers_;
};

}  // namespace wrapd::policy
