// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who is behind a unique name, by the bus's own word (GetConnectionCredentials of the D-Bus specification), which it
// has from the kernel since the connection was made. Never by sd_bus_creds: those look things up in /proc afterwards.
// A bus never uses a unique name twice, so an answer holds for as long as the connection to the bus.
//
// The process that connected is the one whose pidfd the bus gives (ProcessFD; newer buses, on a kernel with
// SO_PEERPIDFD, 6.5). Such a bus is believed also when it gives none: then the process had died before the bus could
// take one.
//
// An older bus gives a number, which may be another process's by the time it is looked up: a connection outlives its
// maker, and its holder then, a confined program say, would pass for the process that got the number. So on such a bus
// every name's coming is watched (NameOwnerChanged), and the process behind the number must have started before its
// name was there. Costs one short wake-up for each connection that anybody makes to the bus or ends, which does not
// count as activity; a bus that gives pidfds is not watched. A number that was reused is still not noticed where it had
// happened before we could know that the name was there:
//  - before our own connection to the bus, for names that are older than it;
//  - between connect(2), of which the kernel keeps the number, and the Hello that makes the name. A program can hold it
//    back for as long as the bus lets it (auth_timeout, 30 s in dbus-daemon, and before that as long as it can keep the
//    bus from accepting). In that time a process that it does not control must get the very number; numbers are given
//    out in turn, so they must go once around kernel.pid_max;
//  - between Hello and our loop's turn, and within one clock tick.
// A signal that the bus drops because we are slow makes a caller older than it is, which can only refuse it.

#include <sys/types.h>

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/credentials.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/bus/compat.h"
#include "daemon/bus/sd_bus.h"
#include "daemon/bus/unique_names.h"

namespace wrapd::daemon::bus {

// All uids without an account pay together: who has subordinate ids has thousands of them.
inline constexpr uid_t kNoAccount = static_cast<uid_t>(-1);

struct Sender {
  std::string name;
  uid_t uid = static_cast<uid_t>(-1);
  uid_t payer = kNoAccount;   // whose limits it uses up
  std::vector<gid_t> groups;  // all of them; the bus does not say which is the primary one
  pid_t pid = 0;              // 0: the bus does not say
  // Of the process that connected; on an older bus as far as said above, so what is read about it should only refuse.
  UniqueFd pidfd;
  std::string no_pidfd;  // why there is no pidfd

  [[nodiscard]] PeerCredentials credentials() const { return {.pid = pid, .uid = uid, .groups = groups}; }
};

class Senders {
 public:
  static constexpr size_t kMaxKnown = 1024;

  // Tells, at once or soon, whether a uid has an account.
  using HasAccount = std::function<void(uid_t uid, std::function<void(bool)> done)>;

  // `driver`: proxy of org.freedesktop.DBus; must outlive this.
  Senders(sdbus::IProxy& driver, HasAccount has_account) : driver_(driver), has_account_(std::move(has_account)) {}

  // Finds out how the bus tells processes. Once, when `bus`, the driver's connection, is served. Until the bus has
  // answered, no sender has a pidfd that the bus does not give.
  void begin(sd_bus* bus);

  // nullptr: not known yet, or not any more.
  [[nodiscard]] std::shared_ptr<const Sender> find(const std::string& name);
  // Asks the bus and calls `done` later; nullptr: the bus does not say who it is, or it has gone.
  void ask(const std::string& name, std::function<void(std::shared_ptr<const Sender>)> done);

 private:
  using Recent = std::list<std::shared_ptr<const Sender>>;
  using Answer = std::function<void(std::shared_ptr<Sender>)>;
  void request(const std::string& name, Answer answer);
  void watch_names(sd_bus* bus);
  void look_up(Sender& sender) const;
  void find_payer(std::shared_ptr<Sender> sender, std::function<void(std::shared_ptr<const Sender>)> done);
  void remember(std::shared_ptr<const Sender> sender);
  sdbus::IProxy& driver_;
  HasAccount has_account_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  UniqueFd proc_;
  std::optional<UniqueNames> unique_names_;  // set: the bus gives numbers, and names are watched
  sd::Registration names_;
  Recent recent_;  // the last used first
  std::unordered_map<std::string_view, Recent::iterator> known_;
};

}  // namespace wrapd::daemon::bus
