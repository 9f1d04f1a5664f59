// SPDX-License-Identifier: Apache-2.0
#include "supervisor/call_report.h"

namespace wrapd::supervisor {

wire::CallReport call_report(const policy::Layers& layers, const Record& record, pid_t pid) {
  wire::CallReport report{.operation = record.operation,
                          .target = record.path,
                          .abstract = record.abstract,
                          .rule = {},
                          .policy = {},
                          .pid = pid,
                          .comm = record.comm,
                          .exe = record.exe};
  const policy::Decision& decision = record.decision;
  if (decision.layer >= layers.size()) return report;
  const policy::RuleSet& layer = layers.layer(decision.layer);
  report.policy = layer.policy_name();
  if (decision.rule >= 0) report.rule = layer.rule(decision.rule).name;
  return report;
}

std::string_view guidance_of(const policy::Layers& layers, const policy::Decision& decision) {
  if (decision.layer >= layers.size() || decision.rule < 0) return {};
  return layers.layer(decision.layer).rule(decision.rule).guidance;
}

}  // namespace wrapd::supervisor
