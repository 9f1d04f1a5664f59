// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/toy.h"

#include <sys/resource.h>

#include <string>

#include "supervisor/caller.h"

namespace wrapd::supervisor {

Outcome ToyHandler::handle(const Caller& call, CallContext& context) {
  GatedCall gated(gate_, call, context);
  const bool own = static_cast<int>(call.arguments[0]) == PRIO_PROCESS && static_cast<int>(call.arguments[1]) == 0;
  gated.about(own ? "own" : std::to_string(static_cast<int>(call.arguments[1])));
  if (auto refused = gated.judge({policy::Class::toy, policy::Operation::getpriority, policy::Process{own}})) {
    return std::move(*refused);
  }
  gated.acts();
  // Safe to run as the target wrote it: both arguments came in registers, which nobody can change any more.
  return gated.answer({.run_natively = true});
}

}  // namespace wrapd::supervisor
