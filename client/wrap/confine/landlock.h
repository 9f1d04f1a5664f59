// SPDX-License-Identifier: Apache-2.0
#pragma once

// CMD always runs in a Landlock domain, also when nothing else is asked of it: the kernel then refuses it the memory,
// environment, descriptors and tracing of every process outside (landlock(7), "Ptrace restrictions"), and with the
// signal scope also signals to them.

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::client {

struct DomainSpec {
  bool scope_signal = true;
  bool scope_abstract = false;
  bool monitor_unsupported = false;  // go on with less, and say so, where the kernel cannot do all of it
};

struct Domain {
  UniqueFd ruleset;                   // for landlock_restrict_self(2); invalid: no domain can be had
  std::optional<std::string> notice;  // what is missing
};

// The Landlock ABI of this kernel; 0: there is none.
[[nodiscard]] int landlock_abi();

// Makes the ruleset, using no more than `abi` offers. Fails if something is missing and the policy does not bear it.
[[nodiscard]] Result<Domain> make_domain(const DomainSpec& spec, int abi);

// Enters the domain; no_new_privs must be set. 0 or an errno value. Async-signal-safe.
[[nodiscard]] int enter_domain(int ruleset) noexcept;

}  // namespace wrapd::client
