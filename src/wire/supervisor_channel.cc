// SPDX-License-Identifier: Apache-2.0
#include "wire/supervisor_channel.h"

#include <algorithm>
#include <array>
#include <climits>

#include "base/json_text.h"
#include "wire/codec.h"

namespace wrapd::wire {
namespace {

constexpr size_t kMaxOperation = 32;
constexpr size_t kMaxTarget = 4200;  // a path of 4095 plain bytes is never cut
constexpr size_t kMaxName = 256;     // rules, policies, programs as shown
constexpr size_t kMaxGuidance = 1024;
constexpr size_t kMaxReason = 256;
constexpr uint64_t kMaxTimeout = uint64_t{24} * 60 * 60 * 1000;

constexpr std::array<std::pair<SupervisorState, std::string_view>, 4> kStates{
    {{SupervisorState::ready, "ready"},
     {SupervisorState::running, "running"},
     {SupervisorState::terminating, "terminating"},
     {SupervisorState::finished, "finished"}}};
constexpr std::array<std::string_view, 4> kEnds{"allowed", "denied", "expired", "withdrawn"};

std::string encode(const CallReport& call) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.string("operation", cut(call.operation, kMaxOperation));
  writer.string("target", cut(call.target, kMaxTarget));
  writer.boolean("abstract", call.abstract);
  writer.string("rule", cut(call.rule, kMaxName));
  writer.string("policy", cut(call.policy, kMaxName));
  writer.number("pid", static_cast<uint64_t>(std::max(call.pid, 0)));
  writer.string("comm", cut(call.comm, kMaxName));
  writer.string("exe", cut(call.exe, kMaxTarget));
  writer.finish();
  return out;
}

Result<CallReport> call_from(Fields& outer) {
  const Value* object = outer.take("call", Value::Type::object);
  CallReport call;
  if (object == nullptr) return call;  // the outer finish() says so
  Fields fields(*object, "supervisor's report, call");
  call.operation = fields.text("operation", kMaxOperation);
  call.target = fields.text("target", kMaxTarget);
  call.abstract = fields.boolean("abstract");
  call.rule = fields.text("rule", kMaxName);
  call.policy = fields.text("policy", kMaxName);
  call.pid = static_cast<pid_t>(fields.number("pid", INT_MAX));
  call.comm = fields.text("comm", kMaxName);
  call.exe = fields.text("exe", kMaxTarget);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return call;
}

// Writes one message: its kind, then what `fill` adds.
template <class Fill>
std::string message(std::string_view what, std::string_view kind, Fill fill) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.number("version", kProtocolVersion);
  writer.string(what, kind);
  fill(writer);
  writer.finish();
  return out;
}

struct Encoder {
  std::string operator()(const StateReport& report) const {
    return message("report", "state", [&](JsonObjectWriter& writer) {
      for (const auto& [state, word] : kStates) {
        if (state == report.state) writer.string("state", word);
      }
    });
  }
  std::string operator()(const CounterReport& report) const {
    return message("report", "counters", [&](JsonObjectWriter& writer) {
      writer.number("allowed", report.allowed);
      writer.number("denied", report.denied);
      writer.number("audited", report.audited);
      writer.number("lost", report.lost);
    });
  }
  std::string operator()(const DenialReport& report) const {
    return message("report", "denial", [&](JsonObjectWriter& writer) {
      writer.raw("call", encode(report.call));
      writer.number("count", report.count);
    });
  }
  std::string operator()(const QuestionReport& report) const {
    return message("report", "question", [&](JsonObjectWriter& writer) {
      writer.number("question", report.question);
      writer.raw("call", encode(report.call));
      writer.string("guidance", cut(report.guidance, kMaxGuidance));
      writer.number("timeout_ms", report.timeout_ms);
    });
  }
  std::string operator()(const QuestionGoneReport& report) const {
    return message("report", "question-gone", [&](JsonObjectWriter& writer) {
      writer.number("question", report.question);
      writer.string("how", report.how);
    });
  }
  std::string operator()(const ReportOrder&) const {
    return message("order", "report", [](JsonObjectWriter&) {});
  }
  std::string operator()(const TerminateOrder& order) const {
    return message("order", "terminate",
                   [&](JsonObjectWriter& writer) { writer.string("reason", cut(order.reason, kMaxReason)); });
  }
  std::string operator()(const AnswerOrder& order) const {
    return message("order", "answer", [&](JsonObjectWriter& writer) {
      writer.number("question", order.question);
      writer.boolean("allow", order.allow);
      writer.string("by", cut(order.by, kMaxName));
    });
  }
};

std::string word_of(const Value& object, std::string_view key) {
  auto at = std::find(object.keys.begin(), object.keys.end(), key);
  if (at == object.keys.end()) return {};
  return object.items[static_cast<size_t>(at - object.keys.begin())].string;
}

Result<SupervisorReport> state_from(Fields& fields) {
  StateReport report;
  std::string word = fields.text("state", kMaxOperation);
  auto found = std::find_if(kStates.begin(), kStates.end(), [&](const auto& known) { return known.second == word; });
  fields.require(found != kStates.end(), "state", "ready, running, terminating or finished");
  if (found != kStates.end()) report.state = found->first;
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return report;
}

Result<SupervisorReport> counters_from(Fields& fields) {
  CounterReport report;
  report.allowed = fields.number("allowed", UINT64_MAX);
  report.denied = fields.number("denied", UINT64_MAX);
  report.audited = fields.number("audited", UINT64_MAX);
  report.lost = fields.number("lost", UINT64_MAX);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return report;
}

Result<SupervisorReport> denial_from(Fields& fields) {
  DenialReport report;
  auto call = call_from(fields);
  if (!call) return std::unexpected(call.error());
  report.call = std::move(*call);
  report.count = fields.number("count", UINT64_MAX);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return report;
}

Result<SupervisorReport> question_from(Fields& fields) {
  QuestionReport report;
  report.question = fields.number("question", UINT64_MAX);
  auto call = call_from(fields);
  if (!call) return std::unexpected(call.error());
  report.call = std::move(*call);
  report.guidance = fields.text("guidance", kMaxGuidance);
  report.timeout_ms = fields.number("timeout_ms", kMaxTimeout);
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return report;
}

Result<SupervisorReport> question_gone_from(Fields& fields) {
  QuestionGoneReport report;
  report.question = fields.number("question", UINT64_MAX);
  report.how = fields.text("how", kMaxOperation);
  bool known = std::find(kEnds.begin(), kEnds.end(), report.how) != kEnds.end();
  fields.require(known, "how", "allowed, denied, expired or withdrawn");
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return report;
}

}  // namespace

std::string encode(const SupervisorReport& report) {
  return std::visit(Encoder{}, report);
}

std::string encode(const ServiceOrder& order) {
  return std::visit(Encoder{}, order);
}

Result<SupervisorReport> decode_supervisor_report(std::string_view text) {
  auto object = parse_object(text, kMaxChannelMessage, "supervisor's report");
  if (!object) return std::unexpected(object.error());
  const std::string kind = word_of(*object, "report");
  Fields fields(*object, "supervisor's report");
  fields.version();
  fields.constant("report", kind);
  if (kind == "state") return state_from(fields);
  if (kind == "counters") return counters_from(fields);
  if (kind == "denial") return denial_from(fields);
  if (kind == "question") return question_from(fields);
  if (kind == "question-gone") return question_gone_from(fields);
  return fail("supervisor's report: \"report\" must be state, counters, denial, question or question-gone", EINVAL);
}

Result<ServiceOrder> decode_service_order(std::string_view text) {
  auto object = parse_object(text, kMaxChannelMessage, "service's order");
  if (!object) return std::unexpected(object.error());
  const std::string kind = word_of(*object, "order");
  Fields fields(*object, "service's order");
  fields.version();
  fields.constant("order", kind);
  ServiceOrder order;
  if (kind == "report") {
    order = ReportOrder{};
  } else if (kind == "terminate") {
    order = TerminateOrder{.reason = fields.text("reason", kMaxReason)};
  } else if (kind == "answer") {
    AnswerOrder answer;
    answer.question = fields.number("question", UINT64_MAX);
    answer.allow = fields.boolean("allow");
    answer.by = fields.text("by", kMaxName);
    order = std::move(answer);
  } else {
    return fail("service's order: \"order\" must be report, terminate or answer", EINVAL);
  }
  if (auto done = fields.finish(); !done) return std::unexpected(done.error());
  return order;
}

}  // namespace wrapd::wire
