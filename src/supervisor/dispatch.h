// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "plan/traps.h"
#include "supervisor/gate.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

// From a trap group to the handler of its calls: the list of all handlers is in dispatch.cc.
class Dispatch {
 public:
  explicit Dispatch(const SessionObjects& session);
  // By system call number; nullptr: nobody handles it.
  [[nodiscard]] Handler* handler_of(int number) const {
    const plan::Trap* trap = plan::find_trap(number);
    return trap == nullptr ? nullptr : by_group_[static_cast<size_t>(trap->group)];
  }

 private:
  template <class Made>
  void add(const SessionObjects& session, plan::TrapSet groups);

  std::vector<std::unique_ptr<Handler>> handlers_;
  std::array<Handler*, plan::kTrapGroups.size()> by_group_{};
};

}  // namespace wrapd::supervisor
