// SPDX-License-Identifier: Apache-2.0
#include "daemon/question_table.h"

#include "base/io.h"

namespace wrapd::daemon {

Result<> QuestionTable::add(const SessionFacts& session, uint64_t user, const wire::QuestionReport& report,
                            bool again) {
  auto& asked = asked_[session.id];
  if (asked.contains(report.question)) {
    if (again) return {};
    return fail("asked a question twice", EPROTO);
  }
  if (asked.size() >= kMostPerSession) {
    return fail("asked more than " + std::to_string(kMostPerSession) + " questions at once", EPROTO);
  }
  const std::chrono::milliseconds timeout(report.timeout_ms);
  std::string id = random_hex(8);
  auto expiry = loop_.after(timeout + grace_, [this, id] {
    if (auto found = questions_.find(id); found != questions_.end()) erase(found, "expired");
  });
  if (!expiry) return std::unexpected(expiry.error());
  Question question{.info = {.id = id,
                             .session = session.id,
                             .uid = session.uid,
                             .call = report.call,
                             .guidance = report.guidance,
                             .deadline = std::chrono::system_clock::now() + timeout},
                    .number = report.question,
                    .expiry = std::move(*expiry),
                    .place = places_.take(user)};
  asked.emplace(report.question, id);
  auto [at, added] = questions_.emplace(std::move(id), std::move(question));
  if (observer_ != nullptr) observer_->question_added(at->second.info);
  return {};
}

void QuestionTable::remove(const std::string& session, uint64_t number, std::string_view how) {
  auto asked = asked_.find(session);
  if (asked == asked_.end()) return;
  auto id = asked->second.find(number);
  if (id != asked->second.end()) erase(questions_.find(id->second), how);
}

void QuestionTable::remove_all(const std::string& session, std::string_view how) {
  auto asked = asked_.find(session);
  if (asked == asked_.end()) return;
  for (const auto& [number, id] : std::map(asked->second)) erase(questions_.find(id), how);
  asked_.erase(session);
}

std::vector<QuestionInfo> QuestionTable::list() const {
  std::vector<QuestionInfo> out;
  for (const auto& [id, question] : questions_) out.push_back(question.info);
  return out;
}

std::optional<QuestionInfo> QuestionTable::find(std::string_view id) const {
  auto found = questions_.find(id);
  if (found == questions_.end()) return std::nullopt;
  return found->second.info;
}

ApiResult<std::pair<std::string, uint64_t>> QuestionTable::find_for_answer(std::string_view id) const {
  auto found = questions_.find(id);
  if (found == questions_.end()) {
    return std::unexpected(ApiError{"NoSuchApproval", "nothing of this id waits for an answer; it may be too late"});
  }
  if (found->second.answered) {
    return std::unexpected(ApiError{"NoSuchApproval", "this has been answered already"});
  }
  return std::pair(found->second.info.session, found->second.number);
}

void QuestionTable::set_answered(std::string_view id) {
  if (auto found = questions_.find(id); found != questions_.end()) found->second.answered = true;
}

void QuestionTable::erase(Questions::iterator question, std::string_view how) {
  const QuestionInfo info = std::move(question->second.info);
  asked_[info.session].erase(question->second.number);
  questions_.erase(question);
  if (observer_ != nullptr) observer_->question_removed(info, how);
}

}  // namespace wrapd::daemon
