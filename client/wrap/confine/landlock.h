// SPDX-License-Identifier: Apache-2.0
#pragma once

// CMD always runs in a Landlock domain, also when nothing else is asked of it: the kernel then refuses it the memory,
// environment, descriptors and tracing of every process outside (landlock(7), "Ptrace restrictions"), and with the
// signal scope also signals to them.

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "plan/confinement.h"

namespace wrapd::client {

struct Domain {
  UniqueFd ruleset;                   // for landlock_restrict_self(2); invalid: no domain can be had
  std::optional<std::string> notice;  // what is missing
};

// The Landlock ABI of this kernel; 0: there is none.
[[nodiscard]] int landlock_abi();

// Makes the ruleset for the step, using no more than `abi` offers. Fails if something is missing and the policy does
// not bear it.
[[nodiscard]] Result<Domain> make_domain(const plan::Confinement& confinement, int abi);

}  // namespace wrapd::client
