// SPDX-License-Identifier: Apache-2.0
#include "supervisor/denials.h"

namespace wrapd::supervisor {

void Denials::count(const Record& record) {
  bool wanted =
      record.decision.recorded == policy::Verdict::allow || record.decision.recorded == policy::Verdict::audit;
  if (record.done && wanted) {
    ++summary_.allowed;
    return;
  }
  ++(record.done ? summary_.audited : summary_.denied);

  wire::DenialLine line;
  line.operation = record.operation;
  line.target = record.path;
  line.reason = record.reason;
  line.abstract = record.abstract;
  line.enforced = !record.done;
  line.count = 1;
  if (record.decision.layer < layers_.size()) {
    const policy::RuleSet& layer = layers_.layer(record.decision.layer);
    line.policy = std::string(layer.policy_name());
    if (record.decision.rule >= 0) {
      policy::RuleView rule = layer.rule(record.decision.rule);
      line.rule = std::string(rule.name);
      line.guidance = std::string(rule.guidance);
    }
  }
  for (wire::DenialLine& known : summary_.denials) {
    if (known.operation == line.operation && known.target == line.target && known.abstract == line.abstract &&
        known.rule == line.rule && known.policy == line.policy && known.reason == line.reason &&
        known.enforced == line.enforced) {
      ++known.count;
      return;
    }
  }
  if (summary_.denials.size() < kMaxLines) {
    summary_.denials.push_back(std::move(line));
  } else {
    ++summary_.more;
  }
}

}  // namespace wrapd::supervisor
