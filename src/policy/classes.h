// SPDX-License-Identifier: Apache-2.0
#pragma once

// The classes of rules, in one table. A class is what folder classes/ has of it: how its rules are read, what it writes
// into a compiled block, and how it judges.

#include <array>
#include <span>
#include <string_view>

#include "base/result.h"
#include "policy/block.h"
#include "policy/decision.h"
#include "policy/model.h"
#include "policy/yaml_reader.h"

namespace wrapd::policy {

struct ClassEntry {
  Class id;
  std::string_view noun;         // one of what it judges, for people
  std::string_view rules_key;    // in a policy: its list of rules
  std::string_view seccomp_key;  // in sandbox.seccomp: its switches `enabled` and `action`
  std::string_view sandbox_key;  // in sandbox: its switch `enabled`
  std::string_view event;        // type of the events that record its decisions
  std::string_view message_id;   // of the same in the journal
  std::span<const Operation> operations;
  std::span<const std::string_view> rule_keys;  // what rules have besides name, decision and guidance

  // Takes these keys out of a rule.
  void (*read)(YamlReader& r, const YamlReader::Map& map, const YamlNode& node, Rule& rule);
  // Fills in the variables (their values match literally) and writes what the section has besides the rules' names.
  // `file` is for errors.
  Result<> (*compile)(const std::string& file, const std::vector<Rule>& rules, const Variables& variables,
                      SectionWriter& section);
  // The first thing that is wrong with such a section, or nullptr. The container's part of it is right.
  const char* (*check)(const Section& section);
  // First matching rule wins; none, or a request that is not of the class: deny.
  LayerVerdict (*judge)(const Section& section, const Request& request);
};

[[nodiscard]] std::span<const ClassEntry, kClasses> class_table();
[[nodiscard]] inline const ClassEntry& entry_of(Class c) {
  return class_table()[static_cast<size_t>(c)];
}

}  // namespace wrapd::policy
