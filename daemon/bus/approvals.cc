// SPDX-License-Identifier: Apache-2.0

// org.wrapd1.Manager: questions that wait for an answer.

#include <vector>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/rendering.h"

namespace wrapd::daemon::bus {
namespace methods_of {
namespace {

constexpr size_t kRowSize = 192;  // of the list, beside its texts

std::string id_of(Call& call) {
  std::string id;
  call.arguments() >> id;
  return id;
}

void answer(ServiceApi& service, const std::shared_ptr<Call>& call, bool allow) {
  if (auto answered = service.answer_question(id_of(*call), allow, call->by()); !answered) {
    call->refuse(answered.error());
  } else {
    call->answer();
  }
}

}  // namespace

void list_approvals(ServiceApi& service, const std::shared_ptr<Call>& call) {
  using Row = sdbus::Struct<std::string, sdbus::ObjectPath, uint32_t, std::string, std::string, bool, std::string,
                            std::string, std::string, uint32_t, std::string, std::string, uint64_t>;
  std::vector<Row> rows;
  size_t size = 0;
  for (const QuestionInfo& question : service.questions()) {
    const wire::CallReport& asked = question.call;
    // Whole for whose session it is, and for root; others get as much of them as polkit's dialog shows.
    const bool own = call->sender().uid == question.uid || call->sender().uid == 0;
    const auto shown = [own](const std::string& text) { return own ? printable(text) : shown_in_list(text); };
    rows.emplace_back(question.id, sdbus::ObjectPath(session_path(question.session)), question.uid,
                      printable(asked.operation), shown(asked.target), asked.abstract, shown(asked.rule),
                      shown(asked.policy), shown(question.guidance), process_number(asked.pid), printable(asked.comm),
                      shown(asked.exe), microseconds_of(question.deadline));
    const auto& row = rows.back();
    size += kRowSize + row.get<4>().size() + row.get<6>().size() + row.get<7>().size() + row.get<8>().size() +
            row.get<10>().size() + row.get<11>().size();
  }
  call->charge(size);
  call->answer(rows);
}

ApiResult<Target> find_approval(const ServiceApi& service, Call& call) {
  const std::string id = id_of(call);
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
