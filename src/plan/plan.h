// SPDX-License-Identifier: Apache-2.0
#pragma once

// Policy -> Plan: everything that is decided before the command starts. Pure: what the machine is like comes in as
// arguments.

#include <linux/filter.h>

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/confinement.h"
#include "plan/traps.h"
#include "policy/model.h"

namespace wrapd::plan {

// The filter that brings these calls to the supervisor, as the kernel takes it (seccomp(2)). The rest of it is the same
// for everybody: docs/filter.md lists what it refuses and with which errno.
[[nodiscard]] std::vector<sock_filter> compile_filter(TrapSet traps);

struct Plan {
  std::vector<std::byte> rules;  // policy::compile_rules()
  Confinement confinement;
  std::vector<sock_filter> filter;  // of the confinement's traps; empty if nothing is filtered
};

// True if names in this directory (which may not exist yet) can be made or moved by others than root.
using OthersMayCreate = std::function<bool(std::string_view directory)>;

// `narrow` is what a user's profile needs trapped besides (its rules travel separately).
[[nodiscard]] Result<Plan> compile_plan(const policy::Policy& policy, const policy::Variables& variables,
                                        TrapSet narrow, const OthersMayCreate& others_may_create);

}  // namespace wrapd::plan
