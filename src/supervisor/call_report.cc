// SPDX-License-Identifier: Apache-2.0
#include "supervisor/call_report.h"

#include "base/io.h"

namespace wrapd::supervisor {
namespace {

// Of its escaped form; what is longer would lose its end on the way to whoever is asked.
constexpr size_t kMostBytes = 4096;

std::string shown(const std::string& path) {
  if (printable(path, std::string::npos).size() <= kMostBytes) return path;
  return without_middle(path, kMostBytes / 4);  // a character has four bytes at most
}

}  // namespace

wire::CallReport call_report(const policy::Layers& layers, const Record& record, pid_t pid) {
  wire::CallReport report{.operation = record.operation,
                          .target = shown(record.path),
                          .abstract = record.abstract,
                          .rule = {},
                          .policy = {},
                          .pid = pid,
                          .comm = record.comm,
                          .exe = shown(record.exe)};
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
