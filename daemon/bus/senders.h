// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who is behind a unique name, by the bus's own word (GetConnectionCredentials of the D-Bus specification), which it
// has from the kernel since the connection was made. Never by sd_bus_creds: those look things up in /proc afterwards.
// A bus never uses a unique name twice, so an answer holds for as long as the connection to the bus.

#include <sys/types.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/bus/compat.h"

namespace wrapd::daemon::bus {

struct Sender {
  std::string name;
  uid_t uid = static_cast<uid_t>(-1);
  std::vector<gid_t> groups;  // all of them; the bus does not say which is the primary one
  pid_t pid = 0;              // 0: the bus does not say
  // Of the process that connected. From the bus (ProcessFD) where it has one, else opened by the number when the sender
  // was first seen: what is read about it may only refuse. Invalid: it was gone by then.
  UniqueFd pidfd;

  [[nodiscard]] PeerCredentials credentials() const { return {.pid = pid, .uid = uid, .groups = groups}; }
};

class Senders {
 public:
  static constexpr size_t kMaxKnown = 1024;

  // `driver`: proxy of org.freedesktop.DBus; must outlive this.
  explicit Senders(sdbus::IProxy& driver) : driver_(driver) {}

  // nullptr: not known yet, or not any more.
  [[nodiscard]] std::shared_ptr<const Sender> find(const std::string& name);
  // Asks the bus and calls `done` later; nullptr: the bus does not say who it is, or it has gone.
  void ask(const std::string& name, std::function<void(std::shared_ptr<const Sender>)> done);

 private:
  using Recent = std::list<std::shared_ptr<const Sender>>;
  void remember(std::shared_ptr<const Sender> sender);
  sdbus::IProxy& driver_;
  Recent recent_;  // the last used first
  std::unordered_map<std::string_view, Recent::iterator> known_;
};

}  // namespace wrapd::daemon::bus
