// SPDX-License-Identifier: Apache-2.0
#include "policy/classes/toy.h"

namespace wrapd::policy::toy {
namespace {

const YamlReader::Words kWhose = {"own", "others"};

constexpr uint8_t mask_of(size_t word) {
  return static_cast<uint8_t>(1U << word);
}

}  // namespace

void read(YamlReader& r, const YamlReader::Map& map, const YamlNode& node, Rule& rule) {
  const auto* whose = r.required(map, node, "the rule", "whose");
  if (whose == nullptr) return;
  for (const auto& item : r.list(*whose, "'whose'")) rule.whose |= mask_of(r.word(item, "whose", kWhose));
}

Result<> compile(const std::string&, const std::vector<Rule>& rules, const Variables&, SectionWriter& section) {
  for (const Rule& rule : rules) section.add(rule.whose);
  return {};
}

const char* check(const Section& section) {
  return section.body().size() == section.rule_count() ? nullptr : "wrong size";
}

LayerVerdict judge(const Section& section, const Request& request) {
  const auto* process = std::get_if<Process>(&request.object);
  if (process == nullptr || request.operation != Operation::getpriority) return {};
  const uint8_t asked = mask_of(process->of_session ? 0 : 1);
  for (uint32_t rule = 0; rule < section.rule_count(); ++rule) {
    if ((load<uint8_t>(section.body().data() + rule) & asked) != 0) return {section.decision(rule), rule};
  }
  return {};
}

}  // namespace wrapd::policy::toy
