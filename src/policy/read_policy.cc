// SPDX-License-Identifier: Apache-2.0
#include "policy/read_policy.h"

#include <array>
#include <string>
#include <unordered_map>

#include "base/io.h"
#include "policy/classes.h"
#include "policy/pattern.h"

namespace wrapd::policy {
namespace {

constexpr size_t kMaxPathsPerRule = 1000;

// The class's switch: on only if each of its places says so.
void read_enabled(YamlReader& r, const YamlReader::Map& map, ClassPolicy& policy) {
  if (const auto* v = map.find("enabled")) policy.enabled &= r.boolean(*v, "'enabled'");
}

void read_seccomp(YamlReader& r, const YamlNode& node, Policy& policy) {
  YamlReader::Words keys = {"enabled", "mode"};
  for (const ClassEntry& entry : class_table()) keys.push_back(entry.seccomp_key);
  auto map = r.map(node, "sandbox.seccomp", keys, {"syscalls"});
  if (const auto* v = map.find("enabled")) policy.seccomp_enabled = r.boolean(*v, "'enabled'");
  if (const auto* v = map.find("mode")) {
    policy.mode = static_cast<Mode>(r.word(*v, "mode", {std::begin(kModes), std::end(kModes)}));
  }
  for (const ClassEntry& entry : class_table()) {
    const auto* v = map.find(entry.seccomp_key);
    if (v == nullptr) continue;
    auto inner = r.map(*v, "sandbox.seccomp." + std::string(entry.seccomp_key), {"enabled", "action"});
    read_enabled(r, inner, policy.of(entry.id));
    if (const auto* action = inner.find("action")) {
      constexpr std::array kActions = {Mode::enforce, Mode::audit};
      policy.of(entry.id).action = kActions[r.word(*action, "action", {"enforce", "audit"})];
    }
  }
}

void read_sandbox(YamlReader& r, const YamlNode& node, Policy& policy) {
  YamlReader::Words keys = {"seccomp"};
  for (const ClassEntry& entry : class_table()) keys.push_back(entry.sandbox_key);
  keys.insert(keys.end(), {"on_unsupported", "network", "docker"});
  auto map = r.map(node, "sandbox", keys);
  if (const auto* v = map.find("seccomp")) read_seccomp(r, *v, policy);
  for (const ClassEntry& entry : class_table()) {
    const auto* v = map.find(entry.sandbox_key);
    if (v == nullptr) continue;
    read_enabled(r, r.map(*v, "sandbox." + std::string(entry.sandbox_key), {"enabled"}), policy.of(entry.id));
  }
  if (const auto* v = map.find("on_unsupported")) {
    policy.monitor_unsupported = r.word(*v, "on_unsupported", {"deny", "monitor"}) == 1;
  }
  if (const auto* v = map.find("network"); v != nullptr && !r.boolean(*v, "'network'")) {
    r.refuse(*v, "'network: false' is not supported yet; remove it (the network is not restricted)");
  }
  if (const auto* v = map.find("docker"); v != nullptr && !r.boolean(*v, "'docker'")) {
    r.refuse(*v, "'docker: false' is not supported yet; remove it and deny the docker sockets by rules");
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

Rule read_rule(YamlReader& r, const YamlNode& node, const ClassEntry& entry) {
  Rule rule;
  rule.line = node.line;
  YamlReader::Words keys = {"name"};
  keys.insert(keys.end(), entry.rule_keys.begin(), entry.rule_keys.end());
  keys.insert(keys.end(), {"decision", "guidance"});
  auto map = r.map(node, "a rule", keys);
  if (const auto* v = r.required(map, node, "the rule", "name")) rule.name = r.name(*v, "rule name");
  entry.read(r, map, node, rule);
  if (const auto* v = r.required(map, node, "the rule", "decision")) {
    constexpr std::array kDecisions = {Verdict::allow, Verdict::audit, Verdict::ask, Verdict::deny};
    rule.decision = kDecisions[r.word(*v, "decision", {"allow", "audit", "ask", "deny"})];
  }
  if (const auto* v = map.find("guidance")) rule.guidance = read_guidance(r, *v);
  return rule;
}

std::vector<Rule> read_rules(YamlReader& r, const YamlNode& node, const ClassEntry& entry) {
  std::vector<Rule> out;
  const auto& items = r.list(node, "'" + std::string(entry.rules_key) + "'");
  if (items.size() > kMaxRules) {
    r.refuse(items[kMaxRules], "more than " + std::to_string(kMaxRules) + " rules; use wildcards");
  }
  std::unordered_map<std::string, int> names;
  for (const auto& item : items) {
    Rule rule = read_rule(r, item, entry);
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

void read_patterns(YamlReader& r, const YamlNode& node, Rule& rule) {
  const auto& items = r.list(node, "'paths'");
  if (items.empty()) r.refuse(node, "'paths' is empty; name at least one path or '@name'");
  if (items.size() > kMaxPathsPerRule) {
    r.refuse(node, "more than " + std::to_string(kMaxPathsPerRule) + " paths in one rule; split it");
  }
  for (const auto& item : items) {
    const std::string path = r.string(item, "a path");
    if (r.error()) return;
    auto pattern = parse_pattern(path);
    if (!pattern) return r.refuse(item, "path '" + printable(path, 128) + "': " + pattern.error().message);
    pattern->place = {.line = item.line, .column = item.column};
    rule.patterns.push_back(std::move(*pattern));
  }
}

uint32_t read_operations(YamlReader& r, const YamlNode& node, std::span<const Operation> operations,
                         const YamlReader::Words& unsupported) {
  YamlReader::Words words;
  std::string list;
  for (Operation operation : operations) {
    words.push_back(to_string(operation));
    list += (list.empty() ? "" : ", ") + std::string(to_string(operation));
  }
  const auto& items = r.list(node, "'operations'");
  if (items.empty()) r.refuse(node, "'operations' is empty; name one of " + list + ", or remove it for all");
  uint32_t mask = 0;
  for (const auto& item : items) {
    const uint32_t one = bit(operations[r.word(item, "operation", words, unsupported)]);
    if ((mask & one) != 0) r.refuse(item, "operation '" + printable(item.text, 64) + "' is listed twice; keep one");
    mask |= one;
  }
  return mask;
}

Result<Policy> read_policy(const YamlNode& root, const std::string& file) {
  Policy policy;
  policy.file = file;
  YamlReader r(file);
  YamlReader::Words keys = {"version", "name", "sandbox"};
  for (const ClassEntry& entry : class_table()) keys.push_back(entry.rules_key);
  keys.emplace_back("approval");
  auto map = r.map(root, "a policy", keys, {"file_rules", "network_rules", "signal_rules", "trust", "protected"});
  r.version_1(map, root, "the policy");
  if (const auto* v = r.required(map, root, "the policy", "name")) policy.name = r.name(*v, "policy name");
  if (const auto* v = map.find("sandbox")) read_sandbox(r, *v, policy);
  for (const ClassEntry& entry : class_table()) {
    if (const auto* v = map.find(entry.rules_key)) policy.of(entry.id).rules = read_rules(r, *v, entry);
  }
  if (const auto* v = map.find("approval")) policy.approval = read_approval(r, *v);
  if (r.error()) return std::unexpected(*r.error());
  return policy;
}

}  // namespace wrapd::policy
