// SPDX-License-Identifier: Apache-2.0
#pragma once

// The service manager's descriptor store (sd_pid_notify_with_fds(3), FDSTORE=1). What lies there survives a crash, a
// restart and an upgrade of the service, and comes back with LISTEN_FDS. One entry per session, by the session's name:
// the service's end of the channel, the supervisor's pidfd, the sealed record.
//
// Entries are stored with FDPOLL=0: the manager would else drop a channel at its hang-up, and with it the last words of
// a supervisor that ended while there was no service to hear them. So each entry is taken out here.
//
// A store that is full drops descriptors without a word to the sender: whoever stores counts (most_sessions()). The
// manager takes these messages before it sees the end of the sender (manager_setup_notify() in systemd's
// src/core/manager.c), so what was sent is stored even if the service dies in the next instruction.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace wrapd::daemon {

class FdStore {
 public:
  static constexpr size_t kPerSession = 3;

  // There is one where a service manager told us how to notify it (NOTIFY_SOCKET). $FDSTORE, set by systemd since 254,
  // is its size; else `size` is.
  [[nodiscard]] static FdStore from_environment(size_t size);

  [[nodiscard]] bool present() const { return size_ > 0; }
  // No limit without a store.
  [[nodiscard]] size_t most_sessions() const;

  // `fds` under one name. Success without a store: there is nothing to be done. Waits if the manager's queue is full.
  [[nodiscard]] Result<> store(const std::string& name, std::span<const int> fds) const;
  // Everything of that name. What cannot be sent is told on stderr: the entry is then found again, and judged again, at
  // the next start.
  void remove(std::string_view name) const;

  [[nodiscard]] static std::string name_of(std::string_view session_id);

 private:
  explicit FdStore(size_t size) : size_(size) {}
  size_t size_;
};

}  // namespace wrapd::daemon
