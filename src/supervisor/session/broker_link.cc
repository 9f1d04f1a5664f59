// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/broker_link.h"

#include <poll.h>

#include <algorithm>

#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

constexpr std::chrono::seconds kCounterPause{1};
constexpr size_t kMaxOrdersAtOnce = 64;  // a service gone mad must not keep the session from its work

}  // namespace

short BrokerLink::events() const {
  return static_cast<short>(POLLIN | (full_ ? POLLOUT : 0));
}

std::optional<BrokerLink::Clock::time_point> BrokerLink::next_flush(Clock::time_point now) {
  if (closed() || full_) return std::nullopt;
  std::optional<Clock::time_point> next;
  if (!counters_sent_) next = counters_at_ + kCounterPause;
  if (denial_) next = std::min(next.value_or(Clock::time_point::max()), denials_.next(now));
  return next;
}

void BrokerLink::report(wire::SupervisorState state) {
  state_ = state;
  // A later state says that we are ready, too, and each message wakes the service.
  if (!states_.empty() && states_.back() == wire::SupervisorState::ready) states_.pop_back();
  states_.push_back(state);
}

void BrokerLink::report(const wire::CounterReport& counters) {
  counters_ = counters;
  counters_sent_ = false;
}

void BrokerLink::report_denial(wire::CallReport call, Clock::time_point now) {
  if (closed()) return;
  uint64_t left_out = denial_ ? denial_->count : 0;
  denial_ = wire::DenialReport{.call = std::move(call), .count = left_out + 1};
  if (!full_) (void)send_denials(now, false);
}

void BrokerLink::report_question(wire::QuestionReport question, Clock::time_point deadline) {
  uint64_t number = question.question;
  questions_.insert_or_assign(number, Asked{.report = std::move(question), .deadline = deadline});
}

void BrokerLink::report_gone(wire::QuestionGoneReport gone) {
  auto asked = questions_.find(gone.question);
  if (asked == questions_.end()) return;
  // The service hears of the end of a question that it was told of. So as many ends wait as questions were told at
  // once.
  if (asked->second.sent) gone_.push_back(std::move(gone));
  questions_.erase(asked);
}

bool BrokerLink::send(const wire::SupervisorReport& report) {
  if (closed()) return false;
  auto sent = wire::send_packet(channel_.get(), wire::encode(report), {}, true);
  if (sent) return true;
  // Any other error is the end, which receive() sees.
  full_ = sent.error().code == EAGAIN;
  return false;
}

bool BrokerLink::send_denials(Clock::time_point now, bool all) {
  if (!denial_) return true;
  if (!all && denials_.next(now) > now) return true;
  if (!send(*denial_)) return false;
  (void)denials_.take(now);
  denial_.reset();
  return true;
}

bool BrokerLink::send_pending(Clock::time_point now, bool all) {
  // Counters before a state: those of the end belong before `finished`.
  if (counters_ && !counters_sent_ && (all || now - counters_at_ >= kCounterPause)) {
    if (!send(*counters_)) return false;
    counters_sent_ = true;
    counters_at_ = now;
  }
  while (!states_.empty()) {
    if (!send(wire::StateReport{states_.front()})) return false;
    states_.pop_front();
  }
  while (!gone_.empty()) {
    if (!send(gone_.front())) return false;
    gone_.pop_front();
  }
  for (auto& [number, asked] : questions_) {
    if (asked.sent) continue;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(asked.deadline - now);
    asked.report.timeout_ms = static_cast<uint64_t>(std::max<int64_t>(left.count(), 0));
    if (!send(asked.report)) return false;
    asked.sent = true;
  }
  return send_denials(now, all);
}

void BrokerLink::flush(Clock::time_point now, bool all) {
  if (closed()) return;
  full_ = false;
  (void)send_pending(now, all);  // what is left is kept
}

bool BrokerLink::anything_waits() const {
  return !states_.empty() || !gone_.empty() || denial_.has_value() || !counters_sent_;
}

void BrokerLink::flush_all(std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  for (;;) {
    auto now = Clock::now();
    flush(now, true);
    if (closed() || !full_ || !anything_waits() || now >= deadline) return;
    struct pollfd p {
      .fd = channel_.get(), .events = POLLOUT, .revents = 0
    };
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
    if (::poll(&p, 1, static_cast<int>(left.count())) > 0 && (p.revents & POLLOUT) == 0) return;  // nobody is there
  }
}

void BrokerLink::say_again() {
  states_.clear();
  if (state_) states_.push_back(*state_);
  if (counters_) {
    counters_sent_ = false;
    counters_at_ = {};
  }
  gone_.clear();
  for (auto& [number, asked] : questions_) asked.sent = false;
}

std::vector<wire::ServiceOrder> BrokerLink::receive() {
  std::vector<wire::ServiceOrder> orders;
  for (size_t i = 0; i < kMaxOrdersAtOnce && !closed(); ++i) {
    auto packet = wire::receive_packet(channel_.get(), wire::kMaxChannelMessage, 0);
    if (!packet && packet.error().code == EAGAIN) break;
    if (!packet) {
      // Too long, or with descriptors: it is read and gone. ECONNRESET is told once, before the end.
      ++unknown_orders_;
      continue;
    }
    if (packet->eof()) {
      channel_.reset();
      break;
    }
    auto order = wire::decode_service_order(packet->bytes);
    if (!order) {
      ++unknown_orders_;
    } else if (std::holds_alternative<wire::ReportOrder>(*order)) {
      say_again();
    } else {
      orders.push_back(std::move(*order));
    }
  }
  return orders;
}

}  // namespace wrapd::supervisor
