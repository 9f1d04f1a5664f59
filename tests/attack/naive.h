// SPDX-License-Identifier: Apache-2.0
#pragma once

// A supervisor that looks, and then lets the kernel go on.

#include <sys/syscall.h>

#include <utility>

#include "arena.h"
#include "supervisor/caller.h"

namespace wrapd::attack {

// True if the call may go on.
using Look = std::function<bool(const supervisor::SessionObjects& session, const supervisor::Caller& call)>;

class LooksAndLetsGo final : public supervisor::Handler {
 public:
  LooksAndLetsGo(const supervisor::SessionObjects& session, Look look) : session_(session), look_(std::move(look)) {}
  supervisor::Outcome handle(const supervisor::Caller& call, supervisor::CallContext&) override {
    supervisor::Record record{.operation = "naive"};
    record.done = look_(session_, call);
    if (!record.done) return {.answer = supervisor::Answer::errno_of(EACCES), .record = record};
    // Not safe, which is what this class is here to show.
    return {.answer = {.run_natively = true}, .record = record};
  }

 private:
  supervisor::SessionObjects session_;
  Look look_;
};

inline MakeHandler looks_and_lets_go(Look look) {
  return [look = std::move(look)](const supervisor::SessionObjects& session, kernel::Kernel&) {
    return std::make_unique<LooksAndLetsGo>(session, look);
  };
}

// The commonest look: at the name in the caller's memory, as it is given; listen(2) at the one its descriptor has.
inline bool name_may_be_used(const supervisor::SessionObjects& session, policy::Operation operation,
                             const supervisor::AddressCopy& address) {
  auto name = supervisor::decode_unix_name(address);
  if (name.kind == supervisor::UnixName::Kind::abstract) {
    return session.layers.judge(policy::with_abstract(operation, name.text)).permits();
  }
  return name.kind == supervisor::UnixName::Kind::path &&
         session.layers.judge(policy::with_path(operation, name.text)).permits();
}

inline bool looks_at_the_name(const supervisor::SessionObjects& session, const supervisor::Caller& call) {
  if (call.number == SYS_listen) {
    auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
    supervisor::AddressCopy bound;
    return socket && session.kernel.socket_name(socket->get(), bound.storage, bound.length) == 0 &&
           name_may_be_used(session, policy::Operation::listen, bound);
  }
  auto address = call.copy_address(call.arguments[1], call.arguments[2]);
  auto operation = call.number == SYS_bind ? policy::Operation::bind : policy::Operation::connect;
  return address && name_may_be_used(session, operation, *address);
}

}  // namespace wrapd::attack
