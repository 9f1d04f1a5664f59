// SPDX-License-Identifier: Apache-2.0
#pragma once

// The service manager's descriptor store (sd_pid_notify_with_fds(3), FDSTORE=1). What lies there survives a crash, a
// restart and an upgrade of the service, and comes back with LISTEN_FDS. One entry per session, by the session's name:
// the service's end of the channel, the supervisor's pidfd, the sealed record; and one more record when it was told to
// end.
//
// Entries are stored with FDPOLL=0: the manager would else drop a channel at its hang-up, and with it the last words of
// a supervisor that ended while there was no service to hear them. So each entry is taken out here.
//
// A store that is full drops descriptors without a word to the sender: the caller counts (most_sessions()). The
// manager takes these messages before it sees the end of the sender (manager_setup_notify() in systemd's
// src/core/manager.c), so what was sent is stored even if the service dies in the next instruction.

#include <cstddef>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class FdStore {
 public:
  static constexpr size_t kPerSession = 3;                    // as it is opened
  static constexpr size_t kMostPerSession = kPerSession + 1;  // with the order to end

  // There is one where a service manager told us how to notify it (NOTIFY_SOCKET). $FDSTORE, set by systemd since 254,
  // is its size; else `size` is.
  FdStore(EventLoop& loop, size_t size);
  ~FdStore();
  FdStore(const FdStore&) = delete;
  FdStore& operator=(const FdStore&) = delete;

  [[nodiscard]] bool present() const { return size_ > 0; }
  // No limit without a store. What is still to be taken out has its place there as before.
  [[nodiscard]] size_t most_sessions() const;

  // `fds` under one name, beside what it holds already. Success without a store: there is nothing to be done. EAGAIN if
  // the manager does not keep up, or if an earlier entry of that name has not been taken out yet.
  [[nodiscard]] Result<> store(const std::string& name, std::span<const int> fds) const;
  // Everything of that name; now, or as soon as the manager takes it. Tried again for as long as this lives.
  void remove(std::string_view name);

  [[nodiscard]] static std::string name_of(std::string_view session_id);

 private:
  void send_removals();
  void retry_later();

  EventLoop& loop_;
  size_t size_;
  std::set<std::string, std::less<>> removals_;  // bounded by the sessions that there may be
  bool told_ = false;
  EventSource retry_;
};

}  // namespace wrapd::daemon
