// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/denials.h"

#include "supervisor/call_report.h"

namespace wrapd::supervisor {

void Denials::count(const Record& record) {
  bool wanted = record.approved || record.decision.recorded == policy::Verdict::allow ||
                record.decision.recorded == policy::Verdict::audit;
  if (record.done && wanted) {
    ++summary_.allowed;
    return;
  }
  ++(record.done ? summary_.audited : summary_.denied);

  wire::DenialLine line;
  line.operation = record.operation;
  line.reason = record.reason;
  if (record.done && record.decision.recorded == policy::Verdict::ask) line.reason = "somebody would have been asked";
  line.abstract = record.abstract;
  line.enforced = !record.done;
  line.count = 1;
  wire::CallReport report = call_report(layers_, record, 0);
  line.target = std::move(report.target);
  line.policy = std::move(report.policy);
  // Where something else refused, the rule that would have allowed the call says nothing.
  if (line.reason.empty() || record.decision.recorded == policy::Verdict::ask) {
    line.rule = std::move(report.rule);
    line.guidance = guidance_of(layers_, record.decision);
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
