// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/summary.h"

#include <vector>

#include "base/io.h"

namespace wrapd::client {
namespace {

constexpr size_t kTargetWidth = 256;  // characters
constexpr size_t kGuidanceWidth = 512;

std::string counted(uint64_t count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// "connect /run/docker.sock", "connect @name", "socket".
std::string shown_call(const std::string& operation, const std::string& target, bool abstract) {
  std::string text = printable(operation, 32);
  if (!target.empty() || abstract) {
    text += (abstract ? " @" : " ") + printable(without_middle(target, kTargetWidth));
  }
  return text;
}

// True if the pattern language takes the name literally and YAML takes it in double quotes.
bool can_be_pattern(std::string_view name) {
  return !name.empty() && name.find_first_of("*?[]{}\\\"$") == std::string_view::npos && printable(name, 4096) == name;
}

std::string how_to_allow(const wire::DenialLine& denial, const SummaryContext& context) {
  std::string where = denial.policy == context.profile_policy && !context.profile_file.empty()
                          ? printable(context.profile_file, 128)
                          : "policy " + printable(denial.policy, 128);
  std::string how = denial.rule.empty() ? "to " + where + " add" : "in " + where + " put before that rule";
  if (!denial.rules.empty()) return "to allow: " + how + " a rule to " + printable(denial.rules, 128);
  if (!can_be_pattern(denial.target)) return "to allow: " + how + " a rule with a pattern for this name";
  return "to allow: " + how + " {name: NAME, paths: [\"" + (denial.abstract ? "@" : "") + denial.target +
         "\"], operations: [" + printable(denial.operation, 32) + "], decision: allow}";
}

std::vector<std::string> describe(const wire::DenialLine& denial, const SummaryContext& context) {
  std::string what = std::string("  ") + (denial.enforced ? "" : "would have denied ") +
                     shown_call(denial.operation, denial.target, denial.abstract);
  if (!denial.second.empty()) what += " to " + printable(without_middle(denial.second, kTargetWidth));
  if (denial.count != 1) what += ", " + counted(denial.count, "time");
  if (!denial.rule.empty()) {
    what += " (rule " + printable(denial.rule, 128) + " of policy " + printable(denial.policy, 128) + ")";
  } else if (denial.reason.empty()) {
    what += " (no rule of policy " + printable(denial.policy, 128) + " allows it)";
  }
  if (!denial.reason.empty()) what += ": " + printable(denial.reason, kGuidanceWidth);
  std::vector<std::string> lines{std::move(what)};
  if (!denial.guidance.empty()) lines.push_back("    " + printable(denial.guidance, kGuidanceWidth));
  if (!denial.reason.empty()) return lines;
  if (denial.operation == "rename" || denial.operation == "link") {
    lines.push_back("    the new name would let it be reached, or made, where the policy does not");
  } else if (denial.operation == "symlink") {
    lines.push_back("    a link there would let a socket be made, and reached, elsewhere");
  } else {
    lines.push_back("    " + how_to_allow(denial, context));
  }
  return lines;
}

std::string headline(const wire::Summary& summary) {
  std::string text = "wrap: ";
  if (summary.denied > 0) text += counted(summary.denied, "operation") + " denied";
  if (summary.audited > 0) {
    if (summary.denied > 0) text += ", ";
    text += counted(summary.audited, "operation") + " allowed that enforcing would have denied";
  }
  return text;
}

}  // namespace

std::string summary_text(const wire::Summary& summary, const SummaryContext& context) {
  std::vector<std::string> lines;
  if (summary.denied > 0 || summary.audited > 0) lines.push_back(headline(summary));

  // Two lines stay free for what does not fit.
  const size_t room = kSummaryLines - 2;
  uint64_t more = summary.more;
  for (const wire::DenialLine& denial : summary.denials) {
    std::vector<std::string> described = describe(denial, context);
    if (more > summary.more || lines.size() + described.size() > room) {
      ++more;
      continue;
    }
    lines.insert(lines.end(), described.begin(), described.end());
  }
  if (more > 0) lines.push_back("  and " + counted(more, "other") + ", see the audit log");
  if (summary.lost > 0) lines.push_back("wrap: " + counted(summary.lost, "audit event") + " could not be recorded");

  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::string waiting_text(const wire::WaitingCall& call) {
  return "wrap: " + shown_call(call.operation, call.target, call.abstract) +
         " waits for an answer (wrapctl approvals)\n";
}

}  // namespace wrapd::client
