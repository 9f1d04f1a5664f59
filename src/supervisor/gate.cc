// SPDX-License-Identifier: Apache-2.0
#include "supervisor/gate.h"

#include <utility>

#include "supervisor/report.h"

namespace wrapd::supervisor {
namespace {

constexpr std::string_view kProtected[] = {"/run/wrapd", "/etc/wrapd"};
constexpr const char* kNotFinished = "the supervisor did not finish this call";

// What an answer is good for. The time of the last change of status tells an inode from one that has its number later.
std::string question_key(const Record& record, const struct stat* object) {
  std::string key = std::to_string(static_cast<unsigned>(record.decision.of_class)) + record.operation;
  key += '\0';
  if (object != nullptr) {
    for (uint64_t part :
         {uint64_t{object->st_dev}, uint64_t{object->st_ino}, static_cast<uint64_t>(object->st_ctim.tv_sec),
          static_cast<uint64_t>(object->st_ctim.tv_nsec)}) {
      key += std::to_string(part) + ":";
    }
  }
  key += '\0';
  return key + (record.abstract ? "@" : "") + record.path;
}

}  // namespace

bool is_protected(std::string_view path) {
  for (std::string_view place : kProtected) {
    if (path == place || (path.starts_with(place) && path[place.size()] == '/')) return true;
  }
  return false;
}

GatedCall::~GatedCall() {
  if (!begun_) return;
  record_.reason = kNotFinished;
  call_.leave_unfinished(std::move(record_));
}

void GatedCall::about_abstract(std::string_view name) {
  record_.path = std::string(name);
  record_.abstract = true;
}

policy::Decision GatedCall::decide(policy::Operation operation, int object) {
  const policy::Layers& layers = gate_.layers_;
  if (record_.abstract) return layers.judge(policy::with_abstract(operation, record_.path));
  policy::Decision decision = layers.judge(policy::with_path(operation, record_.path));
  // Nothing is stricter than a denial.
  if (object < 0 || (decision.verdict == policy::Verdict::deny && decision.recorded == policy::Verdict::deny))
    return decision;
  auto denial = gate_.identities_.denial(object, record_.path);
  if (!denial) return decision;
  policy::Decision& other = denial->decision;
  if (other.verdict >= decision.verdict && other.recorded >= decision.recorded) return decision;
  other.verdict = policy::strictest(other.verdict, decision.verdict);
  other.recorded = policy::strictest(other.recorded, decision.recorded);
  record_.reason = denial->reason;
  return other;
}

std::optional<Outcome> GatedCall::judge(policy::Operation operation, int object, const struct stat* st) {
  if (!record_.abstract && is_protected(record_.path)) return refuse_protected();
  return begin(decide(operation, object), st);
}

std::optional<Outcome> GatedCall::judge(const policy::Request& request) {
  return begin(gate_.layers_.judge(request), nullptr);
}

std::optional<Outcome> GatedCall::judge_nameless(policy::Operation operation) {
  record_.decision = gate_.layers_.judge(policy::with_lost_path(operation));
  if (!call_.waits()) return over();
  if (!record_.decision.permits()) {
    record_.reason = "object has no name";
    return denied();
  }
  begun_ = true;
  return std::nullopt;
}

std::optional<Outcome> GatedCall::judge_names(const std::optional<policy::Decision>& forbidden) {
  if (is_protected(record_.path) || is_protected(record_.second_path)) return refuse_protected();
  if (!call_.waits()) return over();
  if (!forbidden) return std::nullopt;
  record_.decision = *forbidden;
  if (!forbidden->layer) record_.reason = "a directory cannot be looked through";
  if (!record_.decision.permits()) return denied();
  begun_ = true;
  return std::nullopt;
}

std::optional<Outcome> GatedCall::begin(policy::Decision decision, const struct stat* st) {
  record_.decision = decision;
  if (!call_.waits()) return over();
  if (decision.verdict == policy::Verdict::ask) return ask(st);
  if (!decision.permits()) return denied();
  begun_ = true;
  return std::nullopt;
}

std::optional<Outcome> GatedCall::ask(const struct stat* st) {
  using Kind = Approvals::Standing::Kind;
  const std::string key = question_key(record_, st);
  auto standing = gate_.approvals_.look_up(key);
  if (!standing) {
    // Who is asked is told what was read of the task.
    call_.name(record_);
    if (!call_.waits()) return over();
    standing = gate_.approvals_.ask(key, call_report(gate_.layers_, record_, call_.tid),
                                    std::string(origin_of(gate_.layers_, record_.decision).guidance));
  }
  record_.reason = standing->reason;
  if (standing->kind == Kind::allowed) {
    record_.approved = begun_ = true;
    return std::nullopt;
  }
  Outcome refused = denied();
  refused.question = standing->question;
  return refused;
}

Outcome GatedCall::denied(int error) {
  begun_ = record_.done = false;
  return {.answer = Answer::errno_of(error), .record = std::move(record_)};
}

Outcome GatedCall::answer(Answer answer) {
  begun_ = false;
  Outcome outcome{.answer = std::move(answer)};
  if (record_.done) outcome.record = std::move(record_);
  return outcome;
}

Outcome GatedCall::refuse(std::string reason, int error) {
  record_.decision = {.of_class = record_.decision.of_class};
  record_.approved = false;
  record_.reason = std::move(reason);
  return denied(error);
}

Outcome GatedCall::refuse_protected() {
  return refuse("protected");
}

Outcome GatedCall::failed(const Failure& failure) {
  const auto* refused = std::get_if<Refusal>(&failure);
  return refused != nullptr ? refuse(refused->why) : error(std::get<TargetErrno>(failure).value);
}

Outcome GatedCall::refuse_or_record(std::string reason, Answer given) {
  if (!gate_.layers_.audit_only(record_.decision.of_class)) return refuse(std::move(reason));
  record_.decision = {.verdict = policy::Verdict::allow, .of_class = record_.decision.of_class};
  record_.reason = std::move(reason);
  record_.done = true;
  return answer(std::move(given));
}

}  // namespace wrapd::supervisor
