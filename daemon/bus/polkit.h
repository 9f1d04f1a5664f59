// SPDX-License-Identifier: Apache-2.0
#pragma once

// Asks polkit (org.freedesktop.PolicyKit1.Authority) whether a caller may do something, without waiting. The subject is
// always the caller's name on the bus, which cannot come to mean another process. Whether a person may be asked is the
// caller's word, in the header of its message. A question ends when it is answered, when the caller leaves the bus, or
// after the timeout; in the latter cases polkit is told, so that no dialog stays behind.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "daemon/bus/compat.h"
#include "daemon/bus/sd_bus.h"
#include "daemon/event_loop.h"
#include "daemon/quota.h"

namespace wrapd::daemon::bus {

enum class Authorization : uint8_t {
  denied,
  required,   // a person could authorise it, but the caller does not allow asking
  dismissed,  // the person was asked and went away
  unavailable,
  timeout,
  caller_gone,
  too_many,  // questions at once
  granted,
};

struct AuthorizationQuestion {
  std::string sender;  // unique name
  uid_t payer = static_cast<uid_t>(-1);
  std::string action;
  std::map<std::string, std::string> details;  // for the dialog and for rules; escaped, bounded
  bool interactive = false;
};

class Polkit {
 public:
  static constexpr size_t kMaxPerUser = 4;
  static constexpr size_t kMaxPending = 64;  // of all; beyond, each user may have one

  Polkit(EventLoop& loop, sdbus::IConnection& connection, std::chrono::milliseconds timeout);
  // Withdraws what is still asked; nobody is called back.
  ~Polkit();

  // `done` is called once, maybe before ask() returns; the text says why where polkit could not be asked.
  using Done = std::function<void(Authorization, const std::string& why)>;
  void ask(const AuthorizationQuestion& question, Done done);
  [[nodiscard]] size_t pending() const noexcept { return pending_.size(); }

 private:
  struct Pending {
    std::string cancellation;
    Done done;
    Quota::Ticket ticket;
    sd::Registration caller;
    EventSource timer;
  };
  [[nodiscard]] Result<> send(uint64_t id, Pending& pending, const AuthorizationQuestion& question);
  void on_reply(uint64_t id, sdbus::MethodReply& reply, const sdbus::Error* error);
  void finish(uint64_t id, Authorization outcome, const std::string& why);
  void cancel(const std::string& cancellation) noexcept;

  EventLoop& loop_;
  std::unique_ptr<sdbus::IProxy> authority_;
  std::chrono::milliseconds timeout_;
  Quota quota_;
  uint64_t next_ = 1;
  std::unordered_map<uint64_t, Pending> pending_;
};

}  // namespace wrapd::daemon::bus
