// SPDX-License-Identifier: Apache-2.0
#include "policy/read_policy.h"

#include <array>
#include <unordered_map>

#include "base/io.h"
#include "policy/pattern.h"
#include "policy/yaml_reader.h"

namespace wrapd::policy {
namespace {

constexpr size_t kMaxPathsPerRule = 1000;

constexpr uint8_t kAllOperations = static_cast<uint8_t>(UnixOperation::connect) |
                                   static_cast<uint8_t>(UnixOperation::bind) |
                                   static_cast<uint8_t>(UnixOperation::listen);

void read_seccomp(YamlReader& r, const YamlNode& node, Policy& policy) {
  auto map = r.map(node, "sandbox.seccomp", {"enabled", "mode", "unix_socket"}, {"syscalls"});
  if (const auto* v = map.find("enabled")) policy.seccomp_enabled = r.boolean(*v, "'enabled'");
  if (const auto* v = map.find("mode")) {
    constexpr std::array kModes = {Mode::enforce, Mode::audit, Mode::disabled};
    policy.mode = kModes[r.word(*v, "mode", {"enforce", "audit", "disabled"})];
  }
  if (const auto* v = map.find("unix_socket")) {
    auto inner = r.map(*v, "sandbox.seccomp.unix_socket", {"enabled", "action"});
    if (const auto* enabled = inner.find("enabled")) policy.unix_socket_enabled &= r.boolean(*enabled, "'enabled'");
    if (const auto* action = inner.find("action")) {
      constexpr std::array kActions = {Mode::enforce, Mode::audit};
      policy.unix_socket_action = kActions[r.word(*action, "action", {"enforce", "audit"})];
    }
  }
}

void read_sandbox(YamlReader& r, const YamlNode& node, Policy& policy) {
  auto map = r.map(node, "sandbox", {"seccomp", "unix_sockets", "on_unsupported", "network", "docker"});
  if (const auto* v = map.find("seccomp")) read_seccomp(r, *v, policy);
  if (const auto* v = map.find("unix_sockets")) {
    auto inner = r.map(*v, "sandbox.unix_sockets", {"enabled"});
    if (const auto* enabled = inner.find("enabled")) policy.unix_socket_enabled &= r.boolean(*enabled, "'enabled'");
  }
  if (const auto* v = map.find("on_unsupported")) {
    policy.monitor_unsupported = r.word(*v, "on_unsupported", {"deny", "monitor"}) == 1;
  }
  if (const auto* v = map.find("network"); v != nullptr && !r.boolean(*v, "'network'")) {
    r.refuse(*v, "'network: false' is not supported yet; remove it (the network is not restricted)");
  }
  if (const auto* v = map.find("docker"); v != nullptr && !r.boolean(*v, "'docker'")) {
    r.refuse(*v, "'docker: false' is not supported yet; remove it and deny the docker sockets in unix_socket_rules");
  }
}

uint8_t read_operations(YamlReader& r, const YamlNode& node) {
  constexpr std::array kOperations = {UnixOperation::connect, UnixOperation::bind, UnixOperation::listen};
  const auto& items = r.list(node, "'operations'");
  if (items.empty()) r.refuse(node, "'operations' is empty; name one of connect, bind, listen, or remove it for all");
  uint8_t mask = 0;
  for (const auto& item : items) {
    auto bit = static_cast<uint8_t>(
        kOperations[r.word(item, "operation", {"connect", "bind", "listen"}, {"sendto", "sendmsg", "send"})]);
    if ((mask & bit) != 0) r.refuse(item, "operation '" + printable(item.text, 64) + "' is listed twice; keep one");
    mask |= bit;
  }
  return mask;
}

void read_paths(YamlReader& r, const YamlNode& node, UnixSocketRule& rule) {
  const auto& items = r.list(node, "'paths'");
  if (items.empty()) r.refuse(node, "'paths' is empty; name at least one path or '@name'");
  if (items.size() > kMaxPathsPerRule) {
    r.refuse(node, "more than " + std::to_string(kMaxPathsPerRule) + " paths in one rule; split it");
  }
  for (const auto& item : items) {
    std::string path = r.string(item, "a path");
    if (r.error()) return;
    if (auto pattern = parse_pattern(path); !pattern) {
      r.refuse(item, "path '" + printable(path, 128) + "': " + pattern.error().message);
    }
    rule.paths.push_back(std::move(path));
    rule.places.push_back({.line = item.line, .column = item.column});
  }
}

std::string read_guidance(YamlReader& r, const YamlNode& node) {
  std::string text = r.string(node, "'guidance'");
  while (text.ends_with('\n')) text.pop_back();  // of a block scalar
  if (!valid_guidance(text)) {
    r.refuse(node, "'guidance' must be one line of at most " + std::to_string(kMaxGuidance) +
                       " bytes without control characters; shorten it, or fold its lines with '>-'");
  }
  return text;
}

UnixSocketRule read_rule(YamlReader& r, const YamlNode& node) {
  UnixSocketRule rule;
  rule.line = node.line;
  auto map = r.map(node, "a rule", {"name", "paths", "operations", "decision", "guidance"});
  if (const auto* v = r.required(map, node, "the rule", "name")) rule.name = r.name(*v, "rule name");
  if (const auto* v = r.required(map, node, "the rule", "paths")) read_paths(r, *v, rule);
  const auto* operations = map.find("operations");
  rule.operations = operations != nullptr ? read_operations(r, *operations) : kAllOperations;
  if (const auto* v = r.required(map, node, "the rule", "decision")) {
    constexpr std::array kDecisions = {Verdict::allow, Verdict::audit, Verdict::ask, Verdict::deny};
    rule.decision = kDecisions[r.word(*v, "decision", {"allow", "audit", "ask", "deny"})];
  }
  if (const auto* v = map.find("guidance")) rule.guidance = read_guidance(r, *v);
  return rule;
}

std::vector<UnixSocketRule> read_rules(YamlReader& r, const YamlNode& node) {
  std::vector<UnixSocketRule> out;
  const auto& items = r.list(node, "'unix_socket_rules'");
  if (items.size() > kMaxRules) {
    r.refuse(items[kMaxRules], "more than " + std::to_string(kMaxRules) + " rules; use wildcards");
  }
  std::unordered_map<std::string, int> names;
  for (const auto& item : items) {
    UnixSocketRule rule = read_rule(r, item);
    if (r.error()) return out;
    auto [first, added] = names.try_emplace(rule.name, rule.line);
    if (!added) {
      r.refuse(item, "a rule named '" + rule.name + "' is on line " + std::to_string(first->second) +
                         " already; give this one another name");
    }
    out.push_back(std::move(rule));
  }
  return out;
}

Approval read_approval(YamlReader& r, const YamlNode& node) {
  Approval approval;
  auto map = r.map(node, "approval", {"timeout", "rate", "burst"});
  if (const auto* v = map.find("timeout")) approval.timeout_seconds = r.duration(*v, "timeout", 1, kMaxApprovalTimeout);
  if (const auto* v = map.find("rate")) {
    approval.rate = static_cast<uint16_t>(r.number(*v, "rate", 1, kMaxApprovalRate));
  }
  if (const auto* v = map.find("burst")) {
    approval.burst = static_cast<uint16_t>(r.number(*v, "burst", 1, kMaxApprovalBurst));
  }
  return approval;
}

}  // namespace

Result<Policy> read_policy(const YamlNode& root, const std::string& file) {
  Policy policy;
  policy.file = file;
  YamlReader r(file);
  auto map = r.map(root, "a policy", {"version", "name", "sandbox", "unix_socket_rules", "approval"},
                   {"file_rules", "network_rules", "signal_rules", "trust", "protected"});
  r.version_1(map, root, "the policy");
  if (const auto* v = r.required(map, root, "the policy", "name")) policy.name = r.name(*v, "policy name");
  if (const auto* v = map.find("sandbox")) read_sandbox(r, *v, policy);
  if (const auto* v = map.find("unix_socket_rules")) policy.unix_socket_rules = read_rules(r, *v);
  if (const auto* v = map.find("approval")) policy.approval = read_approval(r, *v);
  if (r.error()) return std::unexpected(*r.error());
  return policy;
}

}  // namespace wrapd::policy
