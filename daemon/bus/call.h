// SPDX-License-Identifier: Apache-2.0
#pragma once

// One method call, from where it was let in to its answer. The Bouncer owns it; code that answers later keeps a
// weak_ptr, because the connection, and every call on it, may be gone by then.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/bus/compat.h"
#include "daemon/bus/no_throw.h"
#include "daemon/bus/senders.h"
#include "daemon/bus/unread.h"
#include "daemon/quota.h"
#include "daemon/service_api.h"

namespace wrapd::daemon::bus {

struct Method;

class Call {
 public:
  Call(const Method& method, sdbus::MethodCall message, std::shared_ptr<const Sender> sender, Quota::Ticket ticket,
       Unread& unread, std::function<void()> finished)
      : method_(method),
        message_(std::move(message)),
        sender_(std::move(sender)),
        ticket_(std::move(ticket)),
        unread_(unread),
        finished_(std::move(finished)) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  [[nodiscard]] const Method& method() const noexcept { return method_; }
  [[nodiscard]] const Sender& sender() const noexcept { return *sender_; }
  // "uid 1000", as records name who did something.
  [[nodiscard]] std::string by() const { return "uid " + std::to_string(sender_->uid); }
  // The message, at its first argument.
  [[nodiscard]] sdbus::MethodCall& arguments();
  // Takes the next argument, which is a string.
  [[nodiscard]] std::string text() {
    std::string text;
    arguments() >> text;
    return text;
  }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] bool allows_interaction() const noexcept;

  // The answer will be this much larger than what the table says (reply_of(), members.h).
  void charge(size_t bytes) { unread_.add(sender_->name, sender_->payer, {.bytes = bytes}, Unread::Clock::now()); }
  // Each call is answered once; what comes after is ignored.
  template <class... Results>
  void answer(const Results&... results) noexcept {
    if (answered_) return;
    answered_ = no_throw("an answer", [&] {
      auto reply = message_.createReply();
      static_cast<void>((reply << ... << results));
      reply.send();
    });
    if (!answered_) refuse({.code = "Internal", .message = "the answer could not be sent"});
    finish();
  }
  void refuse(const ApiError& error) noexcept;
  // Without an answer: the caller has gone.
  void drop() noexcept;

  // Runs `work` for this call; what it throws becomes an error reply.
  template <class Work>
  void run(Work&& work) noexcept {
    if (!no_throw("a method", std::forward<Work>(work))) {
      refuse({.code = "Internal", .message = "the service failed at this call; its journal says why"});
    }
  }

 private:
  void finish() noexcept;

  const Method& method_;
  sdbus::MethodCall message_;
  std::shared_ptr<const Sender> sender_;
  Quota::Ticket ticket_;
  Unread& unread_;
  std::function<void()> finished_;
  bool answered_ = false;
};

}  // namespace wrapd::daemon::bus
