// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "audit/event.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "wire/handoff.h"

namespace wrapd::supervisor {

// One listening per-caller socket (docs/protocol.md), until the one hand-off it is for has come or its owner gives up.
// Never waits, starts no thread, knows no clock: the owner polls what collect_poll() names, and calls step() when one
// of those is ready or next_deadline() has passed.
class HandoffAcceptor {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;

  struct Options {
    wire::HandoffKind kind = wire::HandoffKind::notify;
    uid_t peer_uid = static_cast<uid_t>(-1);  // the only uid that is listened to, as the kernel tells it
    std::string token;                        // 64 hexadecimal digits
    // Is this the right kind of descriptor? Without one this kind of hand-off is answered `unsupported`.
    std::function<Result<>(int fd)> check_descriptor;
    // Gets a peer_rejected event; fills in what it knows of the session. `count` is how many peers it stands for,
    // `operation` which socket it was, `reason` why.
    std::function<void(audit::Event event)> report;
    std::chrono::milliseconds deadline{2000};  // of each connection
    size_t max_waiting = 8;                    // connections that have not sent their frame yet
    unsigned reports_per_second = 4;
  };

  // What was handed over. The peer waits for a byte on `connection`: answer() it once the descriptor is served.
  struct Accepted {
    UniqueFd descriptor;
    UniqueFd connection;
  };

  // `listener` is a bound and listening SOCK_SEQPACKET socket; it is made non-blocking.
  HandoffAcceptor(UniqueFd listener, Options options);
  HandoffAcceptor(HandoffAcceptor&&) = delete;
  ~HandoffAcceptor();

  [[nodiscard]] bool listening() const { return listener_.valid(); }
  // True once the token was shown together with something that is not what it was made for: no hand-off can come any
  // more.
  [[nodiscard]] bool spent() const { return token_used_ && !accepted_; }
  [[nodiscard]] uint64_t rejected() const { return rejected_; }

  // Appends what to wait for (POLLIN).
  void collect_poll(std::vector<pollfd>& poll) const;
  // When step() is due without any of these being ready.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  // Does a bounded amount of work. Once it has returned a hand-off the acceptor has stopped.
  [[nodiscard]] std::optional<Accepted> step(TimePoint now);

  // Closes the listener and all connections, and reports the rejections that are not reported yet.
  void stop();

 private:
  struct Waiting {
    UniqueFd connection;
    TimePoint deadline;
    pid_t pid;
  };
  enum class Accept { taken, again, drained };

  Accept accept_one(TimePoint now, std::optional<Accepted>& accepted);
  void discard(UniqueFd connection);
  Accept shed_one(TimePoint now, std::optional<Accepted>& accepted);
  void drop_oldest(const std::string& why, TimePoint now, std::optional<Accepted>& accepted);
  // True if the connection is done with, well or ill; `accepted` is set if it brought the hand-off.
  bool read_frame(Waiting& peer, TimePoint now, std::optional<Accepted>& accepted);
  void refuse(Waiting& peer, wire::HandoffAnswer answer, const std::string& why, TimePoint now);
  void reject(uid_t uid, pid_t pid, const std::string& why, TimePoint now);
  void report(audit::Event event);
  void take_reserve();

  UniqueFd listener_;
  UniqueFd reserve_;  // given up for a moment when descriptors have run out
  Options options_;
  size_t kept_ = 0;                       // connections of strangers that are not closed
  std::deque<Waiting> waiting_;           // oldest first
  std::optional<TimePoint> pause_until_;  // the listener is not polled before
  bool token_used_ = false;
  bool accepted_ = false;

  uint64_t rejected_ = 0;
  uint64_t unreported_ = 0;
  audit::Event last_unreported_;
  unsigned report_budget_ = 0;
  std::optional<TimePoint> budget_since_;
};

// Sends the one byte; the peer may be gone (an error to be recorded, no more).
[[nodiscard]] Result<> answer(const UniqueFd& connection, wire::HandoffAnswer answer);

}  // namespace wrapd::supervisor
