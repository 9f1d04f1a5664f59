// SPDX-License-Identifier: Apache-2.0
#pragma once

// What confines CMD, in the order in which its process goes through it. A step prepares nothing: what it needs was made
// before, in the parent. It allocates nothing, takes no lock, and calls nothing that a step before it forbids.

#include <linux/filter.h>

#include <span>
#include <string>

namespace wrapd::client {

// What the steps need; borrowed.
struct Confined {
  int landlock_ruleset = -1;            // -1: no domain
  std::span<const sock_filter> filter;  // empty: no filter and no listener
  [[nodiscard]] bool none() const { return landlock_ruleset < 0 && filter.empty(); }
};

struct Step {
  // 0, or an errno value. `listener` is the filter's, once there is one. Async-signal-safe.
  int (*take)(const Confined& confined, int& listener) noexcept;
  // One line about the error.
  std::string (*failure)(int error);
};

extern const Step kNoNewPrivs;  // no_new_privs.cc; the two others need it
extern const Step kLandlock;    // landlock.cc
extern const Step kFilter;      // filter.cc; the last: it forbids what makes the others
inline constexpr const Step* kSteps[] = {&kNoNewPrivs, &kLandlock, &kFilter};

}  // namespace wrapd::client
