// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/rendering.h"

#include <chrono>

#include "base/io.h"

namespace wrapd::daemon::bus {
namespace {

using sdbus::Flags;

// Since the epoch; 0 for what lies before.
uint64_t microseconds_of(WallTime time) {
  auto count = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  return count < 0 ? 0 : static_cast<uint64_t>(count);
}

uint32_t process_number(pid_t pid) {
  return pid < 0 ? 0 : static_cast<uint32_t>(pid);
}

}  // namespace

std::span<const Key<SessionInfo>> session_keys() {
  using Info = SessionInfo;
  static const Key<Info> kKeys[] = {
      {"Id", "s", [](const Info& info) -> Value { return info.id; }},
      {"Uid", "u", [](const Info& info) -> Value { return info.uid; }},
      {"Leader", "u", [](const Info& info) -> Value { return process_number(info.leader); }},
      {"Policy", "s", [](const Info& info) -> Value { return info.policy; }},
      {"Stale", "b", [](const Info& info) -> Value { return info.stale; }, Flags::EMITS_CHANGE_SIGNAL},
      {"Mode", "s", [](const Info& info) -> Value { return info.mode; }},
      {"State", "s", [](const Info& info) -> Value { return std::string(to_string(info.state)); },
       Flags::EMITS_CHANGE_SIGNAL},
      {"Since", "t", [](const Info& info) -> Value { return microseconds_of(info.since); }},
      {"Command", "s", [](const Info& info) -> Value { return info.command; }},
      {"Allowed", "t", [](const Info& info) -> Value { return info.allowed; }, Flags::EMITS_NO_SIGNAL},
      {"Denied", "t", [](const Info& info) -> Value { return info.denied; }, Flags::EMITS_NO_SIGNAL},
  };
  return kKeys;
}

std::span<const Key<QuestionInfo>> question_keys() {
  using Info = QuestionInfo;
  static const Key<Info> kKeys[] = {
      {"uid", "u", [](const Info& info) -> Value { return info.uid; }},
      {"operation", "s", [](const Info& info) -> Value { return info.call.operation; }},
      {"target", "s", [](const Info& info) -> Value { return info.call.target; }},
      {"abstract", "b", [](const Info& info) -> Value { return info.call.abstract; }},
      {"rule", "s", [](const Info& info) -> Value { return info.call.rule; }},
      {"policy", "s", [](const Info& info) -> Value { return info.call.policy; }},
      {"guidance", "s", [](const Info& info) -> Value { return info.guidance; }},
      {"pid", "u", [](const Info& info) -> Value { return process_number(info.call.pid); }},
      {"comm", "s", [](const Info& info) -> Value { return info.call.comm; }},
      {"exe", "s", [](const Info& info) -> Value { return info.call.exe; }},
      {"deadline", "t", [](const Info& info) -> Value { return microseconds_of(info.deadline); }},
  };
  return kKeys;
}

std::span<const Key<PolicyInfo>> policy_keys() {
  static const Key<PolicyInfo> kKeys[] = {
      {"file", "s", [](const PolicyInfo& info) -> Value { return info.file; }},
      {"mode", "s", [](const PolicyInfo& info) -> Value { return info.mode; }},
      {"problem", "s", [](const PolicyInfo& info) -> Value { return info.problem; }},
      {"default", "b", [](const PolicyInfo& info) -> Value { return info.is_default; }},
  };
  return kKeys;
}

std::span<const Key<PolicyVerdict>> verdict_keys() {
  static const Key<PolicyVerdict> kKeys[] = {
      {"decision", "s", [](const PolicyVerdict& verdict) -> Value { return verdict.decision; }},
      {"rule", "s", [](const PolicyVerdict& verdict) -> Value { return verdict.rule; }},
      {"guidance", "s", [](const PolicyVerdict& verdict) -> Value { return verdict.guidance; }},
  };
  return kKeys;
}

std::span<const Key<wire::DenialReport>> denial_keys() {
  using Report = wire::DenialReport;
  static const Key<Report> kKeys[] = {
      {"operation", "s", [](const Report& report) -> Value { return report.call.operation; }},
      {"target", "s", [](const Report& report) -> Value { return report.call.target; }},
      {"second", "s", [](const Report& report) -> Value { return report.call.second; }},
      {"abstract", "b", [](const Report& report) -> Value { return report.call.abstract; }},
      {"rule", "s", [](const Report& report) -> Value { return report.call.rule; }},
      {"policy", "s", [](const Report& report) -> Value { return report.call.policy; }},
      {"pid", "u", [](const Report& report) -> Value { return process_number(report.call.pid); }},
      {"comm", "s", [](const Report& report) -> Value { return report.call.comm; }},
      {"count", "t", [](const Report& report) -> Value { return report.count; }},
  };
  return kKeys;
}

std::string rendered(const std::string& text, Length length) {
  if (length == Length::whole) return printable(text);
  constexpr size_t kShown = 128;
  // What is far from both ends is not looked at: at most four bytes are a character.
  constexpr size_t kEnd = 4 * kShown;
  if (text.size() <= 2 * kEnd) return printable(without_middle(text, kShown), std::string::npos);
  const std::string ends = text.substr(0, kEnd) + text.substr(text.size() - kEnd);
  return printable(without_middle(ends, kShown), std::string::npos);
}

void Dictionary::add(const char* key, const Value& value, Length length) {
  constexpr size_t kEntry = 32;  // a number or a text's length, the type, and what aligns them
  size += kEntry + std::string_view(key).size();
  if (const auto* text = std::get_if<std::string>(&value)) {
    std::string shown = rendered(*text, length);
    size += shown.size();
    entries.emplace(key, sdbus::Variant(std::move(shown)));
  } else {
    std::visit([&](const auto& plain) { entries.emplace(key, sdbus::Variant(plain)); }, value);
  }
}

std::string shown_in_dialog(std::string_view text) {
  return printable(without_middle(text, 128), std::string::npos);
}

}  // namespace wrapd::daemon::bus
