// SPDX-License-Identifier: Apache-2.0
#pragma once

// A supervisor's end of the channel to the service (wire/supervisor_channel.h). Nothing here waits for the service, and
// nothing that it sends, or its absence, ends a session: what could not be sent is kept and sent later (states,
// questions), or summed up (counters, denials). After a restart the service asks for all of it again.
//
// The end of the channel means that the service was stopped for good: while it restarts, systemd holds its end.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "wire/supervisor_channel.h"

namespace wrapd::supervisor {

class BrokerLink {
 public:
  using Clock = std::chrono::steady_clock;

  explicit BrokerLink(UniqueFd channel) : channel_(std::move(channel)) {}

  // For poll(2): the descriptor (-1 once the channel has ended) and what to wait for.
  [[nodiscard]] int fd() const { return channel_.get(); }
  [[nodiscard]] short events() const;
  // When flush() has something to send that it may not send yet.
  [[nodiscard]] std::optional<Clock::time_point> next_flush(Clock::time_point now);
  [[nodiscard]] bool closed() const { return !channel_; }

  void report(wire::SupervisorState state);
  void report(const wire::CounterReport& counters);                  // sent at most once a second
  void report_denial(wire::CallReport call, Clock::time_point now);  // ten a second; the others are counted in the next
  void report_question(wire::QuestionReport question, Clock::time_point deadline);  // `timeout_ms` is filled in
  void report_gone(wire::QuestionGoneReport gone);

  // Sends what can be sent now. With `all`, also what waits for its time.
  void flush(Clock::time_point now, bool all = false);
  // The same with `all`, waiting for the service for so long at most.
  void flush_all(std::chrono::milliseconds patience);

  // The orders that have come, but for ReportOrder, which is obeyed here. What is no order is dropped and counted.
  [[nodiscard]] std::vector<wire::ServiceOrder> receive();
  [[nodiscard]] uint64_t unknown_orders() const { return unknown_orders_; }

 private:
  struct Asked {
    wire::QuestionReport report;
    Clock::time_point deadline;
    bool sent = false;
  };
  // False if it cannot be sent now.
  [[nodiscard]] bool send(const wire::SupervisorReport& report);
  [[nodiscard]] bool send_pending(Clock::time_point now, bool all);
  [[nodiscard]] bool send_denials(Clock::time_point now, bool all);
  [[nodiscard]] bool anything_waits() const;
  void say_again();

  UniqueFd channel_;
  bool full_ = false;  // the service's queue took nothing the last time

  std::optional<wire::SupervisorState> state_;  // the last one
  std::deque<wire::SupervisorState> states_;    // to be sent
  std::optional<wire::CounterReport> counters_;
  bool counters_sent_ = true;
  Clock::time_point counters_at_{};
  std::optional<wire::DenialReport> denial_;  // the latest, with those left out
  TokenBucket denials_{10, 10};
  std::map<uint64_t, Asked> questions_;
  std::deque<wire::QuestionGoneReport> gone_;
  uint64_t unknown_orders_ = 0;
};

}  // namespace wrapd::supervisor
