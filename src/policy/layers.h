// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "policy/rules.h"

namespace wrapd::policy {

// What is to be done, and which layer's rule said so.
struct Decision {
  static constexpr uint8_t kNoLayer = UINT8_MAX;
  Verdict verdict = Verdict::deny;   // the strictest of the layers that enforce
  Verdict recorded = Verdict::deny;  // the strictest of all layers: differs from `verdict` where a layer only audits
  uint8_t layer = kNoLayer;          // the layer that gave `recorded`, or none did
  int32_t rule = -1;                 // its rule, or -1: no rule matched
  [[nodiscard]] bool permits() const { return verdict == Verdict::allow || verdict == Verdict::audit; }
};

// The administrator's policy first, then the user's profile. A further layer can only narrow.
class Layers {
 public:
  void add(RuleSet layer) { layers_.push_back(layer); }
  [[nodiscard]] size_t size() const { return layers_.size(); }
  [[nodiscard]] const RuleSet& layer(size_t index) const { return layers_[index]; }
  [[nodiscard]] bool judges_unix_sockets() const;
  // True if no layer enforces: everything is done, and only recorded.
  [[nodiscard]] bool audit_only() const;

  // The smallest of what the layers that judge say, the defaults where none does.
  [[nodiscard]] Approval approval() const;

  [[nodiscard]] Decision judge_path(UnixOperation operation, std::string_view path) const;
  // Of a path that is not known: what all paths get, and a denial where they differ.
  [[nodiscard]] Decision judge_any_path(UnixOperation operation) const;
  [[nodiscard]] Decision judge_abstract(UnixOperation operation, std::string_view name) const;

 private:
  std::vector<RuleSet> layers_;
};

}  // namespace wrapd::policy
