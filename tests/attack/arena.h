// SPDX-License-Identifier: Apache-2.0
#pragma once

// A place to fight in: a directory with real listening sockets, a child under a real filter that attacks, and a
// supervisor that answers, with the identity that the service gives to its own. The supervisor is either ours, or one
// of the kind that a test shows to lose, built on the same loop, so that the difference is the defence and nothing
// else.

#include <linux/filter.h>
#include <sys/types.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "kernel/kernel.h"
#include "plan/plan.h"
#include "policy/layers.h"
#include "supervisor/calls/rename_link.h"
#include "supervisor/calls/socket.h"
#include "supervisor/handler.h"
#include "supervisor/identities.h"
#include "supervisor/loop/loop.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::attack {

inline constexpr uid_t kAttacker = 64017;
inline constexpr uid_t kSupervisor = 64016;  // real and saved id

// A directory of its own, writable by the attacker, removed at the end.
class Place : public test::TemporaryDirectory {
 public:
  Place();
};

// A listening AF_UNIX stream socket outside the sandbox that counts who reached it. Belongs to the attacker's uid, as
// the sockets of a user's own servers do: file permissions do not protect it. `name` with a leading '@' is abstract.
class Server {
 public:
  explicit Server(const std::string& name);
  ~Server();
  [[nodiscard]] uint64_t reached() const { return reached_.load(); }
  // Waits until everything that is in the backlog has been counted.
  void settle();

 private:
  UniqueFd listener_;
  std::atomic<uint64_t> reached_{0};
  std::atomic<uint64_t> passes_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Rules in YAML's place: compiled as the service would.
struct Rule {
  std::vector<std::string> paths;
  policy::Verdict decision;
  uint8_t operations = 7;  // all
};
[[nodiscard]] std::vector<std::byte> compile(const std::vector<Rule>& rules);

// Makes the handler that answers, once the kernel is there.
using MakeHandler =
    std::function<std::unique_ptr<supervisor::Handler>(const supervisor::SessionObjects&, kernel::Kernel&)>;

// Our own supervisor's handlers.
[[nodiscard]] MakeHandler ours();

struct Result {
  int exit_status = -1;  // of the attacker, as waitpid(2) gives it; -1 if the supervisor failed
  uint64_t decided = 0;  // calls that the supervisor carried out or let through
  uint64_t denied = 0;
  bool left_waiting = false;  // a call that nobody will answer; see Terms
};

inline constexpr plan::TrapSet kAllTraps = plan::TrapSet::numbered(plan::TrapSet::kSets - 1);

// What a test takes away from a session of the service's, to show what it is there for.
struct Terms {
  plan::TrapSet traps = plan::kUnixSocketTraps;
  std::vector<sock_filter> filter{};   // in the place of ours, if it is not empty
  bool supervisor_stays_root = false;  // instead of becoming the attacker
  bool supervisor_keeps_root = false;  // its root directory, instead of taking the attacker's
  bool believes_everybody = false;     // takes every task for what the session is
  uid_t session = kAttacker;           // whose session it is
  uid_t attacker = kAttacker;
  int leaked_listener = -1;            // number under which the attacker keeps the listener
  bool parent_keeps_listener = false;  // who handed it over closes its copy only once the supervisor is gone
  std::function<void()> furnish{};     // runs in the attacker's process while it is still root
};

// A filter that looks at the number of a call and at nothing else, and brings these.
[[nodiscard]] std::vector<sock_filter> brings_by_number(std::initializer_list<uint32_t> numbers);

// Runs `attacker` in a child with the attacker's uid under the filter and returns when it has exited.
[[nodiscard]] Result fight(const std::vector<Rule>& rules, const MakeHandler& handler,
                           const std::function<int()>& attacker, plan::TrapSet traps = plan::kUnixSocketTraps);
[[nodiscard]] Result fight_on(const Terms& terms, const std::vector<Rule>& rules, const MakeHandler& handler,
                              const std::function<int()>& attacker);

// The number of tries of a race test: WRAPD_RACE_TRIES, or `standard`.
[[nodiscard]] uint64_t tries(uint64_t standard);

}  // namespace wrapd::attack
