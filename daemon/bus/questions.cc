// SPDX-License-Identifier: Apache-2.0

// org.wrapd1.Manager: questions that wait for an answer.

#include <map>
#include <vector>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/rendering.h"

namespace wrapd::daemon::bus {
namespace methods_of {
namespace {

constexpr size_t kRowSize = 96;  // of the list, beside its dictionary

void answer(ServiceApi& service, const std::shared_ptr<Call>& call, bool allow) {
  if (auto answered = service.answer_question(call->text(), allow, call->by()); !answered) {
    call->refuse(answered.error());
  } else {
    call->answer();
  }
}

}  // namespace

void list_approvals(ServiceApi& service, const std::shared_ptr<Call>& call) {
  std::vector<sdbus::Struct<std::string, sdbus::ObjectPath, std::map<std::string, sdbus::Variant>>> rows;
  size_t size = 0;
  for (const QuestionInfo& question : service.questions()) {
    // Whole for the session's user and for root; others get as much of the texts as polkit's dialog shows.
    const bool own = call->sender().uid == question.uid || call->sender().uid == 0;
    Dictionary details = dictionary(question_keys(), question, own ? Length::whole : Length::listed);
    size += kRowSize + details.size;
    rows.emplace_back(question.id, sdbus::ObjectPath(session_path(question.session)), std::move(details.entries));
  }
  call->charge(size);
  call->answer(rows);
}

ApiResult<Target> find_approval(const ServiceApi& service, Call& call) {
  const std::string id = call.text();
  auto question = service.question(id);
  if (!question) {
    return std::unexpected(ApiError{
        "NoSuchApproval", "no question " + printable(id, 64) + " waits; it may have been answered or expired"});
  }
  const std::string target = (question->call.abstract ? "@" : "") + shown_in_dialog(question->call.target);
  return Target{.owner = question->uid,
                .details = {{"approval", shown_in_dialog(question->id)},
                            {"session", shown_in_dialog(question->session)},
                            {"user", std::to_string(question->uid)},
                            {"operation", shown_in_dialog(question->call.operation)},
                            {"target", target},
                            {"program", shown_in_dialog(question->call.comm)}}};
}

void approve(ServiceApi& service, const std::shared_ptr<Call>& call) {
  answer(service, call, true);
}

void deny(ServiceApi& service, const std::shared_ptr<Call>& call) {
  answer(service, call, false);
}

}  // namespace methods_of
}  // namespace wrapd::daemon::bus
