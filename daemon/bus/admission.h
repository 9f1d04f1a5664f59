// SPDX-License-Identifier: Apache-2.0
#pragma once

// In front of everything on our connection, sd-bus's own interfaces (properties, introspection, ObjectManager)
// included: a method call comes in only if its sender is known, its arguments are of a sane size, its user does not
// call too often, and has read what it was sent before (unread.h). What is too much is answered with
// Error.LimitExceeded at once, without looking anything up; a sender that does not read even that gets no answer, and
// the bus itself lets it have 128 calls without one (max_replies_per_connection).

#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/bus/rates.h"
#include "daemon/bus/sd_bus.h"
#include "daemon/bus/senders.h"
#include "daemon/bus/unread.h"

namespace wrapd::daemon::bus {

class Admission {
 public:
  static constexpr size_t kMaxArguments = 65536;  // bytes
  // Calls that wait until the bus has said who their sender is.
  static constexpr size_t kMaxHeldPerSender = 8;
  // Those of a sender that is known, until the bus has said what it has read: more than the bus lets it have.
  static constexpr size_t kMaxHeldPerKnown = 128;
  static constexpr size_t kMaxHeld = 4096;
  static constexpr size_t kMaxHeldBytes = 4 << 20;
  static constexpr size_t kMaxHeldBytesPerSender = 2 * kMaxArguments;

  struct Charges {
    std::function<double(const char* interface, const char* member)> cost;  // in calls of the cheapest kind
    std::function<Load(const char* interface, const char* member)> reply;
  };

  // How often calls come. They outlive this and connections: a user does not get a new bucket by making the bus
  // restart.
  struct Budgets {
    Rates each;
    Rates all{{.per_second = 2000, .burst = 4000}};  // but root
  };
  // Where all together call too often, who has left this much of its own bucket is served all the same.
  static constexpr double kCallsLittle = 0.5;

  Admission(sd_bus* bus, Senders& senders, Budgets& budgets, Unread& unread, Charges charges)
      : bus_(bus), senders_(senders), budgets_(budgets), unread_(unread), charges_(std::move(charges)) {}

  // True: the message is answered or held. False: it may go on.
  [[nodiscard]] bool stop(sd_bus_message* message);
  [[nodiscard]] bool holds_any() const noexcept { return held_count_ > 0; }

 private:
  struct Held {
    sd::MessageRef message;
    size_t size = 0;
  };
  struct Queue {
    std::vector<Held> calls;
    size_t bytes = 0;
  };
  [[nodiscard]] bool in_time(sd_bus_message* message, const Sender& sender);
  [[nodiscard]] Load reply_to(sd_bus_message* message) const;
  void find_out(const std::shared_ptr<const Sender>& sender, Load load, int rounds);
  void release_read(const std::shared_ptr<const Sender>& sender, int rounds);
  void refuse(sd_bus_message* message, const char* why);
  void answer(sd_bus_message* message, const char* name, const char* why);
  // True: it is the first of its sender.
  bool hold(const std::string& sender, sd_bus_message* message, size_t size, size_t most);
  [[nodiscard]] std::vector<Held> take_held(const std::string& sender);
  void release(const std::string& sender, bool known);
  void go_on(const Held& held);

  sd_bus* bus_;
  Senders& senders_;
  Budgets& budgets_;
  Unread& unread_;
  Charges charges_;
  std::unordered_map<std::string, Queue> held_;
  size_t held_count_ = 0;
  size_t held_bytes_ = 0;
  std::unordered_set<sd_bus_message*> admitted_;  // dispatched again, and charged already
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  bool complained_ = false;
};

}  // namespace wrapd::daemon::bus
