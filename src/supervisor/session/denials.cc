// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/denials.h"

#include "supervisor/report.h"

namespace wrapd::supervisor {

void Denials::count(const Record& record) {
  bool wanted = record.approved || record.decision.recorded == policy::Verdict::allow ||
                record.decision.recorded == policy::Verdict::audit;
  if (record.done && wanted) {
    ++summary_.allowed;
    return;
  }
  ++(record.done ? summary_.audited : summary_.denied);

  wire::DenialLine line = denial_line(layers_, record);
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
