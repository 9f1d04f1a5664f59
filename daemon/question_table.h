// SPDX-License-Identifier: Apache-2.0
#pragma once

// Questions that sessions wait for an answer to (rules with `decision: ask`). A supervisor numbers its own; outside
// they go by ids that cannot be guessed. A question goes when its supervisor says so, when the session ends, or some
// time after its deadline: the supervisor has denied it then.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/event_loop.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"
#include "daemon/session_record.h"

namespace wrapd::daemon {

class QuestionTable {
 public:
  static constexpr size_t kMostPerSession = 16;
  static constexpr size_t kMostPerUser = 64;
  // Of all users but root; beyond that each may have a few.
  static constexpr size_t kMost = 1024;
  static constexpr size_t kFew = 4;

  // `grace`: how long after its deadline a question that its supervisor has forgotten stays.
  QuestionTable(EventLoop& loop, std::chrono::milliseconds grace) : loop_(loop), grace_(grace) {}

  void observe(ServiceObserver* observer) { observer_ = observer; }

  // Whether one more of this user's (SubordinateIds::user_of()) may wait.
  [[nodiscard]] bool has_room(uint64_t user) const { return places_.has_room(user, kMostPerUser, kMost, kFew); }
  // `again`: the supervisor may repeat what it has asked before. An error: it asks what it may not.
  [[nodiscard]] Result<> add(const SessionFacts& session, uint64_t user, const wire::QuestionReport& report,
                             bool again);
  // One that is not there is no error: its time may have been over.
  void remove(const std::string& session, uint64_t number, std::string_view how);
  void remove_all(const std::string& session, std::string_view how);

  [[nodiscard]] std::vector<QuestionInfo> list() const;
  [[nodiscard]] std::optional<QuestionInfo> find(std::string_view id) const;
  [[nodiscard]] bool empty() const { return questions_.empty(); }

  // Whom to answer: the session and its number. An error if it has been answered.
  [[nodiscard]] ApiResult<std::pair<std::string, uint64_t>> find_for_answer(std::string_view id) const;
  // Its supervisor has the answer. The question stays until that has said what became of it.
  void set_answered(std::string_view id);

 private:
  struct Question {
    QuestionInfo info;
    uint64_t number = 0;
    bool answered = false;
    EventSource expiry;
    Quota::Ticket place;
  };
  using Questions = std::map<std::string, Question, std::less<>>;
  void erase(Questions::iterator question, std::string_view how);

  EventLoop& loop_;
  std::chrono::milliseconds grace_;
  ServiceObserver* observer_ = nullptr;
  Quota places_;
  Questions questions_;                                           // by id
  std::map<std::string, std::map<uint64_t, std::string>> asked_;  // session -> number -> id
};

}  // namespace wrapd::daemon
