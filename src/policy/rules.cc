// SPDX-License-Identifier: Apache-2.0
#include "policy/rules.h"

#include <algorithm>
#include <string>

#include "policy/classes.h"

namespace wrapd::policy {
namespace {

// The first thing that is wrong with the header, or nullptr.
const char* check_header(std::span<const std::byte> bytes) {
  const std::byte* p = bytes.data();
  if (bytes.size() > kMaxRulesBytes) return "too large";
  if (bytes.size() < block::kHeaderBytes) return "cut short";
  if (load<uint64_t>(p + block::kMagicAt) != block::kMagic) return "not compiled rules";
  if (load<uint32_t>(p + block::kVersionAt) != block::kVersion) return "another version's";
  if (load<uint32_t>(p + block::kSizeAt) != bytes.size()) return "wrong size";
  if (load<uint8_t>(p + block::kMonitorAt) > 1 || load<uint16_t>(p + block::kReservedAt) != 0) return "unknown flag";
  if (load<uint32_t>(p + block::kApprovalTimeoutAt) > kMaxApprovalTimeout ||
      load<uint16_t>(p + block::kApprovalRateAt) > kMaxApprovalRate ||
      load<uint16_t>(p + block::kApprovalBurstAt) > kMaxApprovalBurst) {
    return "approval out of range";
  }
  return nullptr;
}

// Of a section whose bytes are there.
const char* check_section(std::span<const std::byte> bytes) {
  const Section section(bytes);
  const auto mode = load<uint8_t>(bytes.data() + block::kModeAt);
  if (mode != static_cast<uint8_t>(Mode::enforce) && mode != static_cast<uint8_t>(Mode::audit)) return "unknown mode";
  if (load<uint16_t>(bytes.data() + block::kZeroAt) != 0) return "unknown flag";
  if (section.rule_count() > kMaxRules) return "too many rules";
  if (!section.in_bounds()) return "wrong size";
  for (uint32_t i = 0; i < section.rule_count(); ++i) {
    const std::byte* rule = section.rule_at(i);
    if (!section.text_in_bounds(rule) || !valid_name(section.text(rule))) return "bad rule name";
    if (!section.text_in_bounds(rule + block::kRuleGuidance) ||
        !valid_guidance(section.text(rule + block::kRuleGuidance))) {
      return "bad guidance";
    }
    if (load<uint32_t>(rule + block::kRuleDecision) > static_cast<uint32_t>(Verdict::allow)) return "unknown decision";
  }
  return nullptr;
}

}  // namespace

Result<RuleSet> RuleSet::open(std::span<const std::byte> bytes) {
  auto refuse = [](const char* what) {
    return fail(std::string("compiled rules: ") + what + "; compile them again with this version");
  };
  if (const char* wrong = check_header(bytes)) return refuse(wrong);
  RuleSet out;
  out.block_ = bytes;
  auto rest = bytes.subspan(block::kHeaderBytes);
  const auto name_length = load<uint32_t>(bytes.data() + block::kNameLengthAt);
  if (name_length > rest.size()) return refuse("bad policy name");
  out.policy_name_ = text_of(rest.first(name_length));
  if (!valid_name(out.policy_name_)) return refuse("bad policy name");
  rest = rest.subspan(name_length);
  int last = -1;
  for (auto left = load<uint8_t>(bytes.data() + block::kSectionsAt); left > 0; --left) {
    if (rest.size() < block::kSectionHeaderBytes) return refuse("wrong size");
    const auto id = load<uint8_t>(rest.data() + block::kClassAt);
    const auto length = load<uint32_t>(rest.data() + block::kLengthAt);
    if (id >= kClasses || id <= last) return refuse("unknown class");
    if (length < block::kSectionHeaderBytes || length > rest.size()) return refuse("wrong size");
    last = id;
    const auto part = rest.first(length);
    if (const char* wrong = check_section(part)) return refuse(wrong);
    const Section section(part);
    if (const char* wrong = entry_of(static_cast<Class>(id)).check(section)) return refuse(wrong);
    out.sections_[id] = section;
    rest = rest.subspan(length);
  }
  if (!rest.empty()) return refuse("wrong size");
  return out;
}

bool RuleSet::monitor_unsupported() const {
  return load<uint8_t>(block_.data() + block::kMonitorAt) != 0;
}

Approval RuleSet::approval() const {
  return {.timeout_seconds = load<uint32_t>(block_.data() + block::kApprovalTimeoutAt),
          .rate = load<uint16_t>(block_.data() + block::kApprovalRateAt),
          .burst = load<uint16_t>(block_.data() + block::kApprovalBurstAt)};
}

bool RuleSet::judges_anything() const {
  return std::ranges::any_of(sections_, [](const auto& section) { return section.has_value(); });
}

LayerVerdict RuleSet::judge(const Request& request) const {
  const auto& section = this->section(request.of_class);
  if (!section) return {.verdict = Verdict::allow, .rule = {}};
  return entry_of(request.of_class).judge(*section, request);
}

}  // namespace wrapd::policy
