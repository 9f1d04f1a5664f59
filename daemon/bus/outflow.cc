// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/outflow.h"

#include <cstdio>
#include <utility>

#include "daemon/bus/sd_bus.h"

namespace wrapd::daemon::bus {

bool Outflow::admit(What what, uid_t owner, size_t bytes) {
  const uint64_t unsent = sd::unsent(bus_);
  const auto now = Rates::Clock::now();
  const auto size = static_cast<double>(bytes);
  const bool sent = what == What::event ? unsent < kMostEventsUnsent && budgets_.each.take(owner, size, now) &&
                                              budgets_.all.take(0, size, now)
                                        : unsent < kMostUnsent;
  if (sent) {
    since_check_ += bytes;
  } else {
    leave_out();
  }
  look();
  return sent;
}

void Outflow::look() {
  if (checking_ || (since_check_ < kCheckEvery && sd::unsent(bus_) == 0)) return;
  check();
}

// Asked in our turn: no answer in time means that the bus has not come to it.
void Outflow::check() {
  const char* own = nullptr;
  if (sd_bus_get_unique_name(bus_, &own) < 0) return;
  checking_ = true;
  since_check_ = 0;
  turns_ = 0;
  count_turns();
  statistics_.ask(own, [this](const ConnectionStatistics& statistics) { on_checked(statistics); });
}

// By a timer that waits for its turn like the connection does.
void Outflow::count_turns() {
  auto timer = loop_.after(
      kTurnEvery,
      [this] {
        turn_.reset();
        ++turns_;
        if (checking_) count_turns();
      },
      EventLoop::kBus);
  if (timer) {
    turn_ = std::move(*timer);
  } else {
    turns_ = kEnoughTurns;  // not known to be less
  }
}

// The library looks at the time before it looks at the messages that came.
bool Outflow::may_be_ours() {
  if (turns_ < kEnoughTurns) return true;
  return late_++ < kMostLate && sd::has_unread(bus_);
}

void Outflow::on_checked(const ConnectionStatistics& statistics) {
  checking_ = false;
  if (statistics.answer != ConnectionStatistics::Answer::late) late_ = 0;
  if (statistics.answer == ConnectionStatistics::Answer::late) {
    if (may_be_ours()) return check();
    give_up_("the bus does not take what the service sends");
  } else if (statistics.answer == ConnectionStatistics::Answer::given &&
             statistics.sent.bytes > kMostHeld + unread_.total().bytes) {
    give_up_("somebody on the bus does not read the service's signals");
  }
}

void Outflow::leave_out() {
  if (left_out_++ > 0) return;
  auto timer = loop_.after(kTellEvery, [this] {
    tell_.reset();
    tell();
  });
  if (timer) tell_ = std::move(*timer);
}

void Outflow::tell() noexcept {
  if (left_out_ == 0) return;
  std::fprintf(stderr, "wrapd: D-Bus API: %llu signals were not sent: too many came, or the bus is behind\n",
               static_cast<unsigned long long>(std::exchange(left_out_, 0)));
}

}  // namespace wrapd::daemon::bus
