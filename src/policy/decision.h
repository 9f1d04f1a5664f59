// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "policy/request.h"
#include "policy/verdict.h"

namespace wrapd::policy {

// The verdict of one layer. Without a rule: none matched, or the layer does not judge.
struct LayerVerdict {
  Verdict verdict = Verdict::deny;
  std::optional<uint32_t> rule;  // index into the layer's rules of the class
};

// What is to be done, and which layer's rule said so. As it begins, a refusal that no policy has given.
struct Decision {
  Verdict verdict = Verdict::deny;   // the strictest of the layers that enforce
  Verdict recorded = Verdict::deny;  // the strictest of all layers: differs from `verdict` where a layer only audits
  Class of_class{};
  std::optional<uint8_t> layer;  // the layer that gave `recorded`; none: no layer judges, or the supervisor refused
  std::optional<uint32_t> rule;  // its rule; none: no rule matched
  [[nodiscard]] bool permits() const { return verdict == Verdict::allow || verdict == Verdict::audit; }
};

}  // namespace wrapd::policy
