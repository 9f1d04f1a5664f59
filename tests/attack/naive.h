// SPDX-License-Identifier: Apache-2.0
#pragma once

// A supervisor that looks, and then lets the kernel go on.

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

}  // namespace wrapd::attack
