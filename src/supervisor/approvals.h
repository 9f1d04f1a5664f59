// SPDX-License-Identifier: Apache-2.0
#pragma once

// The questions of `decision: ask`, and the answers that stand for the rest of the session.
//
// A question is known by its key: what would be done, to which object. A handler that comes to such a decision looks
// the key up; without an answer it asks, and its call waits in the loop (loop.h), outside all threads. When the answer
// comes the call is handled again from its beginning: the memory is read again and everything is judged again, and only
// if it comes to the same key it finds the answer. So an answer can be used for nothing but what was asked.
//
// Several calls may wait for one question. One that a signal interrupts comes back as another call and must find its
// question again: a question without calls lingers for a moment. Its deadline does not move.
//
// Thread-safe. Holds no descriptors and knows no channel: notices tell what is to be reported and recorded.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/token_bucket.h"
#include "policy/model.h"
#include "wire/supervisor_channel.h"

namespace wrapd::supervisor {

struct ApprovalBounds {
  size_t questions = wire::kMaxOpenQuestions;  // open at once
  size_t answers = 4096;                       // remembered; the oldest is forgotten, and asked again
  std::chrono::milliseconds linger{5000};      // how long a question waits for an interrupted call to be made again
};

class Approvals {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Approvals(policy::Approval limits, ApprovalBounds bounds = {},
                     std::function<Clock::time_point()> now = Clock::now);

  // How a question stands, and why: "allowed by uid 1000", "nobody answered in time". For denials this is a reason for
  // the record and for the user.
  struct Standing {
    enum class Kind : uint8_t { denied, allowed, open };
    Kind kind = Kind::denied;
    std::string reason;
    uint64_t question = 0;  // where it is open: the caller waits for it now, until it calls leave()
  };

  // --- for handlers

  // The answer or the open question of this key; nothing if it is to be asked.
  [[nodiscard]] std::optional<Standing> look_up(const std::string& key);
  // Asks. Denied where nobody can be asked, or too much was.
  [[nodiscard]] Standing ask(const std::string& key, wire::CallReport call, std::string guidance);

  // --- for the loop

  [[nodiscard]] Standing standing(uint64_t question);
  enum class Leaving : uint8_t {
    done,         // the call was answered, or its target is gone
    interrupted,  // it will be made again
  };
  void leave(uint64_t question, Leaving how);

  // --- for the session

  // False: there is no such open question (any more).
  bool answer(uint64_t question, bool allow, const std::string& by);
  // From now on nobody can be asked: what is open is withdrawn and denied.
  void close(std::string reason);
  // Ends the questions whose time is over.
  void expire();
  [[nodiscard]] std::optional<Clock::time_point> next_deadline();

  struct Notice {
    enum class Kind : uint8_t { asked, allowed, denied, expired, withdrawn };
    Kind kind = Kind::asked;
    uint64_t question = 0;
    wire::CallReport call;
    std::string guidance;        // asked
    std::string by;              // allowed, denied
    Clock::time_point deadline;  // asked
  };
  // What happened since the last time, in its order.
  [[nodiscard]] std::vector<Notice> take_notices();

 private:
  struct Question {
    std::string key;
    wire::CallReport call;
    Clock::time_point deadline;
    Clock::time_point lingers_until{};
    size_t waiting = 0;
    Standing::Kind kind = Standing::Kind::open;
    std::string reason;
  };
  using Questions = std::map<uint64_t, Question>;
  struct Answer {
    bool allow = false;
    std::string reason;
    std::optional<Clock::time_point> until;  // a question that nobody answered may be asked again after a while
  };

  [[nodiscard]] std::optional<Standing> look_up_locked(const std::string& key);
  void settle(Questions::iterator question, Notice::Kind how, std::string reason, const std::string& by);
  void remember(const std::string& key, Answer answer);
  void forget_if_over(Questions::iterator question);

  const policy::Approval limits_;
  const ApprovalBounds bounds_;
  const std::function<Clock::time_point()> now_;

  std::mutex lock_;
  TokenBucket bucket_;
  std::optional<std::string> closed_;
  uint64_t last_ = 0;
  size_t open_ = 0;
  Questions questions_;  // open, or settled with calls that still wait to be told
  std::unordered_map<std::string, Answer> answers_;
  std::deque<std::string> answer_order_;
  std::vector<Notice> notices_;
};

}  // namespace wrapd::supervisor
