// SPDX-License-Identifier: Apache-2.0
#pragma once

// What dbus-daemon says about its queues (org.freedesktop.DBus.Debug.Stats.GetConnectionStats, for root alone). Its
// answer counts everything that we sent before we asked.

#include <chrono>
#include <functional>
#include <string>

#include "daemon/bus/compat.h"
#include "daemon/bus/unread.h"

namespace wrapd::daemon::bus {

struct ConnectionStatistics {
  enum class Answer : uint8_t {
    given,
    gone,         // no such client
    unavailable,  // this bus does not offer it
    failed,
    late,
  };
  Answer answer = Answer::failed;
  Load unread;  // that the bus holds for it: the socket does not take it
  Load sent;    // by it, that the bus still holds for others
};

class Statistics {
 public:
  static constexpr std::chrono::seconds kTimeout{10};

  // `driver`: proxy of org.freedesktop.DBus; must outlive this.
  explicit Statistics(sdbus::IProxy& driver) : driver_(driver) {}

  void ask(const std::string& client, std::function<void(const ConnectionStatistics&)> done);

 private:
  sdbus::IProxy& driver_;
};

}  // namespace wrapd::daemon::bus
