// SPDX-License-Identifier: Apache-2.0
#pragma once

// The service's side of the audit: what waits for the journal is tried again by timer, and refusals of one user are not
// more than one record per interval, with the number of those that it stands for. Nor are those of all users together
// many: users in large numbers are recorded as one.

#include <sys/types.h>

#include <chrono>
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "audit/event.h"
#include "audit/sink.h"
#include "base/result.h"
#include "base/token_bucket.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class Journal {
 public:
  static constexpr std::chrono::seconds kInterval{10};

  Journal(EventLoop& loop, std::unique_ptr<audit::Sink> sink);
  ~Journal();

  void record(audit::Event event);
  // A caller that did not get what it asked for: a session, or (D-Bus API) to do something, maybe to the session
  // `session`. The first of a user and an operation is recorded at once, what follows within the interval is counted
  // and recorded at its end. `operation` is one of ours.
  void reject(uid_t uid, pid_t pid, std::string reason, std::string_view operation = "open",
              std::string_view session = {});
  // Nothing waits to be recorded.
  [[nodiscard]] bool idle() const { return recorder_.waiting() == 0; }

 private:
  struct Refusals {
    uint64_t unrecorded = 0;
    std::string last_reason;
    std::string last_session;
  };
  struct Refused {
    std::optional<uid_t> uid;  // nobody: users beyond those that are told apart
    std::string operation;
    auto operator<=>(const Refused&) const = default;
  };
  void record_refusal(const Refused& who, pid_t pid, std::string session, std::string reason, uint64_t count);
  void record_counted(std::map<Refused, Refusals> refusals);
  void end_interval();
  void arm_interval();
  void arm_retry();

  EventLoop& loop_;
  audit::Recorder recorder_;
  TokenBucket firsts_;  // of users that are told apart
  std::map<Refused, Refusals> refusals_;
  EventSource interval_;
  EventSource retry_;
};

}  // namespace wrapd::daemon
