// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/bouncer.h"

#include <utility>

#include "daemon/caller.h"

namespace wrapd::daemon::bus {
namespace {

std::optional<ApiError> refuse_confined(const Sender& sender) {
  constexpr const char* kHint = ": programs that are confined may look, but change nothing";
  if (!sender.pidfd) return ApiError{"Confined", sender.no_pidfd + kHint};
  auto checked = check_unconfined(sender.credentials(), sender.pidfd.get());
  if (!checked) return ApiError{"Confined", checked.error().message + kHint};
  return std::nullopt;
}

// Whether this caller needs polkit's leave for what is `owner`'s. An action that the table forgot is never granted.
struct Leave {
  bool needed = true;
  const char* action = nullptr;
};
Leave leave_for(const Authorisation& authorisation, uid_t caller, uid_t owner) {
  const bool own = caller == owner;
  switch (authorisation.access) {
    case Access::nobody:
      return {};
    case Access::read:
    case Access::change:
      return {.needed = false};
    case Access::own_free:
      if (own || caller == 0) return {.needed = false};
      return {.action = authorisation.others};
    case Access::polkit:
      if (caller == 0) return {.needed = false};
      return {.action = own ? authorisation.own : authorisation.others};
  }
  return {};
}

ApiError refusal_of(Authorization answer, const std::string& action, const std::string& why) {
  switch (answer) {
    case Authorization::required:
      return {"AuthorizationRequired",
              action + " needs a person's authorisation, and the call does not allow asking for it"};
    case Authorization::dismissed:
      return {"AuthorizationDismissed", "the request to authorise " + action + " was dismissed"};
    case Authorization::unavailable:
      return {"AuthorizationUnavailable",
              "polkit cannot be asked for " + action + (why.empty() ? "" : " (" + why + ")") + "; only root may"};
    case Authorization::timeout:
      return {"AuthorizationTimeout", "nobody authorised " + action + " in time"};
    case Authorization::too_many:
      return {"LimitExceeded", "too many authorisations are being waited for"};
    case Authorization::denied:
    case Authorization::caller_gone:
    case Authorization::granted:
      break;
  }
  return {"NotAuthorized", "not authorised for " + action};
}

}  // namespace

void Bouncer::enter(const Method& method, sdbus::MethodCall message) noexcept {
  std::shared_ptr<Call> call;
  if (!no_throw("a call", [&] { call = take(method, std::move(message)); }) || !call) return;
  call->run([&] { decide(call, std::nullopt); });
}

// nullptr: answered.
std::shared_ptr<Call> Bouncer::take(const Method& method, sdbus::MethodCall message) {
  const uint64_t id = next_++;
  auto sender = senders_.find(message.getSender());
  const bool known = sender != nullptr;
  if (!known) sender = std::make_shared<Sender>();
  const bool room = waiting_.has_room(sender->payer, kMaxWaitingPerUser, kMaxWaiting, kFewWaiting);
  auto call = std::make_shared<Call>(method, std::move(message), sender, waiting_.take(sender->payer), unread_,
                                     [this, id] { calls_.erase(id); });
  if (!known) {
    call->refuse({"Internal", "the bus does not say who calls"});
    return nullptr;
  }
  if (!room) {
    call->refuse({"LimitExceeded", "too many calls of this user wait for an answer"});
    return nullptr;
  }
  calls_.emplace(id, call);
  return call;
}

size_t Bouncer::descriptors_promised(const std::string& sender) const {
  size_t count = 0;
  for (const auto& [id, call] : calls_) {
    if (call->sender().name == sender) count += call->method().reply.descriptors;
  }
  return count;
}

void Bouncer::decide(const std::shared_ptr<Call>& call, const std::optional<Grant>& grant) {
  const Method& method = call->method();
  const Authorisation& authorisation = method.authorisation;
  if (authorisation.access == Access::nobody) {
    turn_away(call, {"NotAuthorized", "nobody may call this"});
    return;
  }
  if (authorisation.access != Access::read) {
    if (auto refusal = refuse_confined(call->sender())) {
      turn_away(call, *refusal);
      return;
    }
  }
  Target target;
  if (method.find != nullptr) {
    auto found = method.find(service_, *call);
    if (!found) {
      call->refuse(found.error());
      return;
    }
    target = std::move(*found);
  }
  const Leave leave = leave_for(authorisation, call->sender().uid, target.owner);
  if (leave.needed) {
    if (leave.action == nullptr) {
      turn_away(call, {"NotAuthorized", "nobody may call this"});
      return;
    }
    if (!grant) {
      Grant wanted{.action = leave.action, .owner = target.owner};
      ask(call, std::move(wanted), std::move(target));
      return;
    }
    if (grant->action != leave.action || grant->owner != target.owner) {
      turn_away(call, {"NotAuthorized", "what was authorised is not what it would be for by now"});
      return;
    }
  }
  method.run(service_, call);
}

void Bouncer::turn_away(const std::shared_ptr<Call>& call, const ApiError& refusal) {
  const Method& method = call->method();
  if (method.authorisation.access != Access::read) {
    std::string session;
    std::string reason = refusal.code + ": " + refusal.message;
    if (auto target = method.find != nullptr ? method.find(service_, *call) : Target{}) {
      if (auto named = target->details.find("session"); named != target->details.end()) session = named->second;
      if (target->owner != static_cast<uid_t>(-1)) reason += " (what is uid " + std::to_string(target->owner) + "'s)";
    }
    service_.note_refusal(call->sender().credentials(), method.name, session, std::move(reason));
  }
  call->refuse(refusal);
}

void Bouncer::ask(const std::shared_ptr<Call>& call, Grant wanted, Target target) {
  AuthorizationQuestion question{.sender = call->sender().name,
                                 .payer = call->sender().payer,
                                 .action = wanted.action,
                                 .details = std::move(target.details),
                                 .interactive = call->allows_interaction()};
  polkit_.ask(question, [this, weak = std::weak_ptr(call), wanted = std::move(wanted)](Authorization answer,
                                                                                       const std::string& why) {
    if (auto waiting = weak.lock()) {
      waiting->run([&] { on_answer(waiting, wanted, answer, why); });
    }
  });
}

void Bouncer::on_answer(const std::shared_ptr<Call>& call, const Grant& wanted, Authorization answer,
                        const std::string& why) {
  if (answer == Authorization::granted) {
    decide(call, wanted);
  } else if (answer == Authorization::caller_gone) {
    call->drop();
  } else {
    turn_away(call, refusal_of(answer, wanted.action, why));
  }
}

}  // namespace wrapd::daemon::bus
