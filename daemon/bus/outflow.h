// SPDX-License-Identifier: Apache-2.0
#pragma once

// Signals, and whether the bus takes what we send at all.
//
// A signal counts as ours until every subscriber has taken it. The service does not know who subscribes. A subscriber
// that does not read would in the end keep the bus from reading from us (unread.h). So signals of what programs do are
// bounded, per user and in all; signals of any kind are left out while the bus is behind; and a connection of which the
// bus holds too much, or that it does not take anything from, is given up for a new one, which starts with nothing
// held.

#include <systemd/sd-bus.h>

#include <chrono>
#include <functional>
#include <string>

#include "daemon/bus/rates.h"
#include "daemon/bus/statistics.h"
#include "daemon/bus/unread.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon::bus {

class Outflow {
 public:
  static constexpr size_t kCheckEvery = 1 << 20;  // bytes
  static constexpr size_t kMostHeld = 32 << 20;   // by the bus, beside what replies may be
  // Messages that the bus has not taken. A reload that makes every session stale sends one for each at once.
  static constexpr uint64_t kMostEventsUnsent = 1024;
  static constexpr uint64_t kMostUnsent = 8192;
  static constexpr std::chrono::minutes kTellEvery{1};
  // The bus is given up for being late only where we had our turns meanwhile and have read what it had for us: else it
  // is we who are late. Messages that others keep it busy with do not put that off for ever.
  static constexpr std::chrono::seconds kTurnEvery{1};
  static constexpr int kEnoughTurns = Statistics::kTimeout / kTurnEvery / 2;
  static constexpr int kMostLate = 3;

  // Of events, in bytes; they outlive a connection.
  struct Budgets {
    Rates each{{.per_second = 32 << 10, .burst = 512 << 10}};
    Rates all{{.per_second = 256 << 10, .burst = 4 << 20}};
  };
  // `give_up` is called when this connection is not to be kept, with the reason.
  Outflow(EventLoop& loop, sd_bus* bus, Statistics& statistics, const Unread& unread, Budgets& budgets,
          std::function<void(std::string)> give_up)
      : loop_(loop),
        bus_(bus),
        statistics_(statistics),
        unread_(unread),
        budgets_(budgets),
        give_up_(std::move(give_up)) {}

  ~Outflow() { tell(); }
  Outflow(const Outflow&) = delete;
  Outflow& operator=(const Outflow&) = delete;

  enum class What : uint8_t {
    state,  // is also found by looking, but those who only listen rely on it
    event,  // of what a session of `owner` does; as often as it likes
  };
  // Whether a signal of this size is sent. If not, it is counted, and the count told.
  [[nodiscard]] bool admit(What what, uid_t owner, size_t bytes);
  // Something was queued.
  void look();

 private:
  void check();
  void count_turns();
  [[nodiscard]] bool may_be_ours();
  void on_checked(const ConnectionStatistics& statistics);
  void leave_out();
  void tell() noexcept;

  EventLoop& loop_;
  sd_bus* bus_;
  Statistics& statistics_;
  const Unread& unread_;
  Budgets& budgets_;
  std::function<void(std::string)> give_up_;
  size_t since_check_ = 0;
  bool checking_ = false;
  int turns_ = 0;  // since it was asked
  int late_ = 0;   // answers in a row
  EventSource turn_;
  uint64_t left_out_ = 0;
  EventSource tell_;
};

}  // namespace wrapd::daemon::bus
