// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whose priority is asked for: the caller's own, or another process's. Its section of a block is one u8 for each rule.

#include "policy/classes.h"

namespace wrapd::policy {

namespace toy {
inline constexpr std::array kOperations = {Operation::getpriority};
inline constexpr std::array<std::string_view, 1> kRuleKeys = {"whose"};
void read(YamlReader& r, const YamlReader::Map& map, const YamlNode& node, Rule& rule);
[[nodiscard]] Result<> compile(const std::string& file, const std::vector<Rule>& rules, const Variables& variables,
                               SectionWriter& section);
[[nodiscard]] const char* check(const Section& section);
[[nodiscard]] LayerVerdict judge(const Section& section, const Request& request);
}  // namespace toy

inline constexpr ClassEntry kToyClass = {.id = Class::toy,
                                         .noun = "toy",
                                         .rules_key = "toy_rules",
                                         .seccomp_key = "toy",
                                         .sandbox_key = "toys",
                                         .event = "toy_op",
                                         .message_id = "00112233445566778899aabbccddeeff",
                                         .operations = toy::kOperations,
                                         .rule_keys = toy::kRuleKeys,
                                         .read = toy::read,
                                         .compile = toy::compile,
                                         .check = toy::check,
                                         .judge = toy::judge};

}  // namespace wrapd::policy
