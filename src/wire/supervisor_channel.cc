// SPDX-License-Identifier: Apache-2.0
#include "wire/supervisor_channel.h"

#include "wire/codec.h"

namespace wrapd::wire {

constexpr std::string_view kStates[] = {"ready", "running", "terminating", "finished"};
constexpr std::string_view kAnswers[] = {"allowed", "denied", "expired", "withdrawn"};

void fields(auto& v, Is<StateReport> auto& report) {
  v.word("state", report.state, kStates);
}

void fields(auto& v, Is<CounterReport> auto& report) {
  v.number("allowed", report.allowed);
  v.number("denied", report.denied);
  v.number("audited", report.audited);
  v.number("lost", report.lost);
}

void fields(auto& v, Is<CallReport> auto& call) {
  v.shown("operation", call.operation, kMaxOperation);
  v.shown("target", call.target, kMaxTarget);
  v.shown("second", call.second, kMaxTarget);
  v.flag("abstract", call.abstract);
  v.shown("rule", call.rule, kMaxName);
  v.shown("policy", call.policy, kMaxName);
  v.shown("pid", call.pid);
  v.shown("comm", call.comm, kMaxName);
  v.shown("exe", call.exe, kMaxTarget);
}

void fields(auto& v, Is<DenialReport> auto& report) {
  v.object("call", report.call);
  v.number("count", report.count);
}

void fields(auto& v, Is<QuestionReport> auto& report) {
  v.number("question", report.question);
  v.object("call", report.call);
  v.shown("guidance", report.guidance, kMaxGuidance);
  v.number("timeout_ms", report.timeout_ms, kMaxQuestionTimeout);
}

void fields(auto& v, Is<QuestionGoneReport> auto& report) {
  v.number("question", report.question);
  v.word("how", report.how, kAnswers);
}

void fields(auto&, Is<ReportOrder> auto&) {}

void fields(auto& v, Is<TerminateOrder> auto& order) {
  v.shown("reason", order.reason, kMaxEndedBy);
}

void fields(auto& v, Is<AnswerOrder> auto& order) {
  v.number("question", order.question);
  v.flag("allow", order.allow);
  v.shown("by", order.by, kMaxName);
}

std::string encode(const SupervisorReport& report) {
  return encode_message(report);
}

std::string encode(const ServiceOrder& order) {
  return encode_message(order);
}

Result<SupervisorReport> decode_supervisor_report(std::string_view text) {
  return decode_one_of<StateReport, CounterReport, DenialReport, QuestionReport, QuestionGoneReport>(
      text, kMaxChannelMessage, "supervisor's report");
}

Result<ServiceOrder> decode_service_order(std::string_view text) {
  return decode_one_of<ReportOrder, TerminateOrder, AnswerOrder>(text, kMaxChannelMessage, "service's order");
}

}  // namespace wrapd::wire
