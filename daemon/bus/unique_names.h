// SPDX-License-Identifier: Apache-2.0
#pragma once

// By when each unique name was on the bus: for buses that tell a caller's process by its number only. A process starts
// before it connects, so one that started later than the name was there is not the one that connected.
//
// Times are clock ticks since boot, as the start times of proc_pid_stat(5): both are rounded down, so who started first
// is never taken for the later one.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace wrapd::daemon::bus {

class UniqueNames {
 public:
  // More than a bus has connections (dbus-daemon's max_completed_connections is 2048). A name beyond that is taken for
  // one of those that were there from the start, which refuses whose process started since.
  static constexpr size_t kMaxNames = 65536;

  // From `since` on the bus tells of every name that comes and leaves.
  explicit UniqueNames(uint64_t since) : since_(since) {}

  // Names that are not unique are passed over.
  void came(std::string_view name, uint64_t now);
  void left(std::string_view name);
  // When `name`, which is on the bus, was there at the latest.
  [[nodiscard]] uint64_t of(std::string_view name) const;

 private:
  uint64_t since_;
  std::map<std::string, uint64_t, std::less<>> names_;
};

}  // namespace wrapd::daemon::bus
