// SPDX-License-Identifier: Apache-2.0
#pragma once

// In front of everything on our connection, sd-bus's own interfaces (properties, introspection, ObjectManager)
// included: a method call comes in only if its sender is known, its arguments are of a sane size, and its user does not
// call too often. What is too much is answered with Error.LimitExceeded at once, without looking anything up.

#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/bus/rates.h"
#include "daemon/bus/raw.h"
#include "daemon/bus/senders.h"

namespace wrapd::daemon::bus {

class Admission {
 public:
  static constexpr size_t kMaxArguments = 65536;  // bytes
  // Calls that wait until the bus has said who their sender is.
  static constexpr size_t kMaxHeldPerSender = 8;
  // More than one user has connections (256 by the bus's default) times the above.
  static constexpr size_t kMaxHeld = 4096;

  // What a call costs its user, in calls of the cheapest kind.
  using Cost = std::function<double(const char* interface, const char* member)>;

  // `rates` outlives this and connections: a user does not get a new bucket by making the bus restart.
  Admission(sd_bus* bus, Senders& senders, Rates& rates, Cost cost)
      : bus_(bus), senders_(senders), rates_(rates), cost_(std::move(cost)) {}

  // True: the message is answered or held. False: it may go on.
  [[nodiscard]] bool stop(sd_bus_message* message);
  [[nodiscard]] bool holds_any() const noexcept { return held_count_ > 0; }

 private:
  void refuse(sd_bus_message* message, const char* why);
  void answer(sd_bus_message* message, const char* name, const char* why);
  void hold(const std::string& sender, sd_bus_message* message);
  void release(const std::string& sender, bool known);

  sd_bus* bus_;
  Senders& senders_;
  Rates& rates_;
  Cost cost_;
  std::unordered_map<std::string, std::vector<raw::MessageRef>> held_;
  size_t held_count_ = 0;
  bool complained_ = false;
};

}  // namespace wrapd::daemon::bus
