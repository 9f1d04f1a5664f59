// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a command is confined: one value, from the plan over the wire (wire/codec.h has its fields) to the client's steps
// (client/wrap/confine). The default confines, and lets no kernel do less than was asked for.

#include "plan/traps.h"

namespace wrapd::plan {

// What the command's Landlock domain keeps inside, besides what every domain does.
struct LandlockScopes {
  bool signal = true;
  bool abstract_socket = false;  // none may be reached by rule
  [[nodiscard]] bool any() const { return signal || abstract_socket; }
  bool operator==(const LandlockScopes&) const = default;
};

struct Confinement {
  bool filtered = true;  // false: mode disabled, the command runs as it would without us
  TrapSet traps;
  LandlockScopes scopes;
  bool monitor_unsupported = false;  // go on with less, and say so, where the kernel cannot do all of it
  bool operator==(const Confinement&) const = default;
};

// What is left for a command that a user's profile confines, too. The filter is the service's, which was asked for the
// profile's traps.
[[nodiscard]] inline Confinement narrowed(Confinement confinement, const Confinement& profile) {
  confinement.scopes.signal |= profile.scopes.signal;
  confinement.scopes.abstract_socket |= profile.scopes.abstract_socket;
  confinement.monitor_unsupported &= profile.monitor_unsupported;
  return confinement;
}

}  // namespace wrapd::plan
