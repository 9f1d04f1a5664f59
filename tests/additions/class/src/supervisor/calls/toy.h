// SPDX-License-Identifier: Apache-2.0
#pragma once

// getpriority(2).

#include "supervisor/gate.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

class ToyHandler final : public Handler {
 public:
  explicit ToyHandler(const SessionObjects& session) : gate_(session) {}
  Outcome handle(const Caller& call, CallContext& context) override;

 private:
  Gate gate_;
};

}  // namespace wrapd::supervisor
