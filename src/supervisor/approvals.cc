// SPDX-License-Identifier: Apache-2.0
#include "supervisor/approvals.h"

#include <algorithm>
#include <utility>

namespace wrapd::supervisor {
namespace {

constexpr const char* kTooMany = "too many questions";
constexpr const char* kNoAnswer = "nobody answered in time";

}  // namespace

Approvals::Approvals(policy::Approval limits, ApprovalBounds bounds, std::function<Clock::time_point()> now)
    : limits_(limits), bounds_(bounds), now_(std::move(now)), bucket_(limits.rate, limits.burst) {}

std::optional<Approvals::Standing> Approvals::look_up(const std::string& key) {
  std::lock_guard lock(lock_);
  return look_up_locked(key);
}

std::optional<Approvals::Standing> Approvals::look_up_locked(const std::string& key) {
  if (auto answer = answers_.find(key); answer != answers_.end()) {
    const auto& [allow, reason, until] = answer->second;
    if (!until || now_() < *until) {
      return Standing{.kind = allow ? Standing::Kind::allowed : Standing::Kind::denied, .reason = reason};
    }
  }
  for (auto& [number, question] : questions_) {
    if (question.kind != Standing::Kind::open || question.key != key) continue;
    ++question.waiting;
    return Standing{.kind = Standing::Kind::open, .reason = {}, .question = number};
  }
  return std::nullopt;
}

Approvals::Standing Approvals::ask(const std::string& key, wire::CallReport call, std::string guidance) {
  std::lock_guard lock(lock_);
  // Another thread may have asked meanwhile.
  if (auto known = look_up_locked(key)) return *known;
  auto now = now_();
  if (closed_) return {.kind = Standing::Kind::denied, .reason = *closed_};
  if (open_ >= bounds_.questions || !bucket_.take(now)) return {.kind = Standing::Kind::denied, .reason = kTooMany};
  uint64_t number = ++last_;
  ++open_;
  auto deadline = now + std::chrono::seconds(limits_.timeout_seconds);
  notices_.push_back({.kind = Notice::Kind::asked,
                      .question = number,
                      .call = call,
                      .guidance = std::move(guidance),
                      .by = {},
                      .deadline = deadline});
  questions_.emplace(number, Question{.key = key, .call = std::move(call), .deadline = deadline, .waiting = 1});
  return {.kind = Standing::Kind::open, .reason = {}, .question = number};
}

Approvals::Standing Approvals::standing(uint64_t question) {
  std::lock_guard lock(lock_);
  auto found = questions_.find(question);
  if (found == questions_.end()) return {};
  return {.kind = found->second.kind, .reason = found->second.reason, .question = question};
}

void Approvals::leave(uint64_t question, Leaving how) {
  std::lock_guard lock(lock_);
  auto found = questions_.find(question);
  if (found == questions_.end()) return;
  --found->second.waiting;
  if (how == Leaving::interrupted) found->second.lingers_until = now_() + bounds_.linger;
  forget_if_over(found);
}

// A question for which no call waits is of no interest to anybody: one that is open is withdrawn.
void Approvals::forget_if_over(Questions::iterator question) {
  if (question->second.waiting > 0) return;
  if (question->second.kind == Standing::Kind::open) {
    if (now_() < question->second.lingers_until) return;
    settle(question, Notice::Kind::withdrawn, "no call waits for it", {});
    return;
  }
  questions_.erase(question);
}

void Approvals::settle(Questions::iterator question, Notice::Kind how, std::string reason, const std::string& by) {
  auto& [number, known] = *question;
  known.kind = how == Notice::Kind::allowed ? Standing::Kind::allowed : Standing::Kind::denied;
  known.reason = std::move(reason);
  --open_;
  notices_.push_back(
      {.kind = how, .question = number, .call = std::move(known.call), .guidance = {}, .by = by, .deadline = {}});
  if (known.waiting == 0) questions_.erase(question);
}

void Approvals::remember(const std::string& key, Answer answer) {
  auto [at, added] = answers_.insert_or_assign(key, std::move(answer));
  if (!added) return;
  answer_order_.push_back(key);
  if (answer_order_.size() <= bounds_.answers) return;
  answers_.erase(answer_order_.front());
  answer_order_.pop_front();
}

bool Approvals::answer(uint64_t question, bool allow, const std::string& by) {
  std::lock_guard lock(lock_);
  auto found = questions_.find(question);
  if (found == questions_.end() || found->second.kind != Standing::Kind::open) return false;
  std::string reason = (allow ? "allowed by " : "denied by ") + by;
  remember(found->second.key, {.allow = allow, .reason = reason, .until = std::nullopt});
  settle(found, allow ? Notice::Kind::allowed : Notice::Kind::denied, std::move(reason), by);
  return true;
}

void Approvals::close(std::string reason) {
  std::lock_guard lock(lock_);
  if (closed_) return;
  closed_ = std::move(reason);
  for (auto at = questions_.begin(); at != questions_.end();) {
    auto question = at++;
    if (question->second.kind == Standing::Kind::open) settle(question, Notice::Kind::withdrawn, *closed_, {});
  }
}

void Approvals::expire() {
  std::lock_guard lock(lock_);
  auto now = now_();
  for (auto at = questions_.begin(); at != questions_.end();) {
    auto question = at++;
    if (question->second.kind != Standing::Kind::open) continue;
    if (now >= question->second.deadline) {
      // For a while, so that a call that a signal had interrupted does not get another deadline.
      remember(question->second.key, {.allow = false, .reason = kNoAnswer, .until = now + bounds_.linger});
      settle(question, Notice::Kind::expired, kNoAnswer, {});
    } else {
      forget_if_over(question);
    }
  }
}

std::optional<Approvals::Clock::time_point> Approvals::next_deadline() {
  std::lock_guard lock(lock_);
  std::optional<Clock::time_point> next;
  for (const auto& [number, question] : questions_) {
    if (question.kind != Standing::Kind::open) continue;
    auto due = question.waiting > 0 ? question.deadline : std::min(question.deadline, question.lingers_until);
    next = next ? std::min(*next, due) : due;
  }
  return next;
}

std::vector<Approvals::Notice> Approvals::take_notices() {
  std::lock_guard lock(lock_);
  return std::exchange(notices_, {});
}

}  // namespace wrapd::supervisor
