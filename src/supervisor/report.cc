// SPDX-License-Identifier: Apache-2.0
#include "supervisor/report.h"

#include <algorithm>
#include <utility>

#include "base/io.h"
#include "policy/classes.h"

namespace wrapd::supervisor {
namespace {

// Of its escaped form; what is longer would lose its end on the way to the one who is asked.
constexpr size_t kMostBytes = 4096;

std::string shown(const std::string& path) {
  if (printable(path, std::string::npos).size() <= kMostBytes) return path;
  return without_middle(path, kMostBytes / 4);  // a character has four bytes at most
}

}  // namespace

Origin origin_of(const policy::Layers& layers, const policy::Decision& decision) {
  const policy::RuleSet* layer = layers.layer_of(decision);
  if (layer == nullptr) return {};
  Origin origin{.policy = layer->policy_name(), .mode = policy::to_string(layer->mode(decision.of_class))};
  if (auto rule = layers.rule_of(decision)) {
    origin.rule = rule->name;
    origin.guidance = rule->guidance;
  }
  return origin;
}

audit::Event event_of(const policy::Layers& layers, TimedRecord timed) {
  Record& record = timed.record;
  const Origin origin = origin_of(layers, record.decision);
  audit::Event event = audit::make_event(audit::kind_of(record.decision.of_class));
  event.time = timed.time;
  event.pid = timed.tid;
  event.comm = std::move(record.comm);
  event.exe = std::move(record.exe);
  event.operation = std::move(record.operation);
  event.decision = std::string(policy::to_string(record.decision.recorded));
  event.rule = std::string(origin.rule);
  event.policy = std::string(origin.policy);
  event.mode = std::string(origin.mode);
  event.action = record.done ? "allowed" : "denied";
  event.reason = std::move(record.reason);
  event.path = std::move(record.path);
  event.abstract = record.abstract;
  event.target = std::move(record.second_path);
  event.error = timed.error;
  return event;
}

audit::Event event_of(const wire::CallReport& call, uint64_t question, const char* how, const std::string& by) {
  audit::Event event = audit::make_event(audit::Kind::approval);
  event.pid = call.pid;
  event.comm = call.comm;
  event.exe = call.exe;
  event.operation = call.operation;
  event.decision = std::string(policy::to_string(policy::Verdict::ask));
  event.rule = call.rule;
  event.policy = call.policy;
  event.action = how;
  event.path = call.target;
  event.abstract = call.abstract;
  event.question = question;
  event.by = by;
  return event;
}

wire::CallReport call_report(const policy::Layers& layers, const Record& record, pid_t pid) {
  const Origin origin = origin_of(layers, record.decision);
  return {.operation = record.operation,
          .target = shown(record.path),
          .second = shown(record.second_path),
          .abstract = record.abstract,
          .rule = std::string(origin.rule),
          .policy = std::string(origin.policy),
          .pid = pid,
          .comm = record.comm,
          .exe = shown(record.exe)};
}

wire::DenialLine denial_line(const policy::Layers& layers, const Record& record) {
  const Origin origin = origin_of(layers, record.decision);
  const bool asks = record.decision.recorded == policy::Verdict::ask;
  wire::DenialLine line{.operation = record.operation,
                        .target = shown(record.path),
                        .second = shown(record.second_path),
                        .abstract = record.abstract,
                        .count = 1,
                        .rule = {},
                        .policy = std::string(origin.policy),
                        .rules = {},
                        .guidance = {},
                        .reason = record.done && asks ? "somebody would have been asked" : record.reason,
                        .enforced = !record.done};
  const policy::ClassEntry& entry = policy::entry_of(record.decision.of_class);
  if (std::ranges::find(entry.rule_keys, "paths") == entry.rule_keys.end()) line.rules = std::string(entry.rules_key);
  // Where something else refused, the rule that would have allowed the call says nothing.
  if (line.reason.empty() || asks) {
    line.rule = std::string(origin.rule);
    line.guidance = std::string(origin.guidance);
  }
  return line;
}

}  // namespace wrapd::supervisor
