// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "plan/traps.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

// From a trap group to the handler of its calls.
class Dispatch {
 public:
  // `handler` is borrowed.
  void add(plan::TrapGroup group, Handler& handler) { handlers_[static_cast<size_t>(group)] = &handler; }
  // By system call number; nullptr: nobody handles it.
  [[nodiscard]] Handler* handler_of(int number) const {
    const plan::Trap* trap = plan::find_trap(number);
    return trap == nullptr ? nullptr : handlers_[static_cast<size_t>(trap->group)];
  }

 private:
  std::array<Handler*, plan::kTrapGroups.size()> handlers_{};
};

}  // namespace wrapd::supervisor
