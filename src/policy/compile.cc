// SPDX-License-Identifier: Apache-2.0
#include "policy/classes.h"
#include "policy/rules.h"

namespace wrapd::policy {
namespace {

Result<> append_section(std::vector<std::byte>& out, const Policy& policy, const ClassEntry& entry,
                        const Variables& variables) {
  const std::vector<Rule>& rules = *policy.of(entry.id).rules;
  if (rules.size() > kMaxRules) return fail(policy.file + ": too many rules");
  SectionWriter section;
  std::vector<std::byte> table;
  for (const Rule& rule : rules) {
    section.refer(table, rule.name);
    section.refer(table, rule.guidance);
    append(table, static_cast<uint32_t>(rule.decision));
  }
  if (auto compiled = entry.compile(policy.file, rules, variables, section); !compiled) return compiled;
  const size_t length = block::kSectionHeaderBytes + table.size() + section.body().size() + section.strings().size();
  if (out.size() + length > kMaxRulesBytes) {
    return fail(policy.file + ": compiles to " + std::to_string(out.size() + length) + " bytes, more than " +
                std::to_string(kMaxRulesBytes) + "; use fewer or shorter patterns");
  }
  append(out, static_cast<uint8_t>(entry.id));
  append(out, static_cast<uint8_t>(policy.mode_of(entry.id)));
  append(out, uint16_t{0});
  append(out, static_cast<uint32_t>(length));
  append(out, static_cast<uint32_t>(rules.size()));
  append(out, static_cast<uint32_t>(section.strings().size()));
  const auto strings = std::as_bytes(std::span(section.strings()));
  out.insert(out.end(), table.begin(), table.end());
  out.insert(out.end(), section.body().begin(), section.body().end());
  out.insert(out.end(), strings.begin(), strings.end());
  return {};
}

}  // namespace

Result<std::vector<std::byte>> compile_rules(const Policy& policy, const Variables& variables) {
  std::vector<std::byte> out;
  append(out, block::kMagic);
  append(out, block::kVersion);
  append(out, uint32_t{0});  // the size, in the end
  append(out, static_cast<uint32_t>(policy.name.size()));
  append(out, static_cast<uint8_t>(policy.monitor_unsupported));
  append(out, uint8_t{0});  // the sections
  append(out, uint16_t{0});
  append(out, policy.approval.timeout_seconds);
  append(out, policy.approval.rate);
  append(out, policy.approval.burst);
  const auto name = std::as_bytes(std::span(policy.name));
  out.insert(out.end(), name.begin(), name.end());
  uint8_t sections = 0;
  for (const ClassEntry& entry : class_table()) {
    if (!policy.judges(entry.id)) continue;
    if (auto added = append_section(out, policy, entry, variables); !added) return std::unexpected(added.error());
    ++sections;
  }
  store(out.data() + block::kSectionsAt, sections);
  store(out.data() + block::kSizeAt, static_cast<uint32_t>(out.size()));
  // What would be refused later is said here.
  if (auto rules = RuleSet::open(out); !rules) return fail(policy.file + ": " + rules.error().message);
  return out;
}

}  // namespace wrapd::policy
