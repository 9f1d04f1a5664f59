// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/pattern.h"
#include "policy/request.h"
#include "policy/verdict.h"

namespace wrapd::policy {

// How questions of `decision: ask` are put. Zero: this policy does not say. Each smaller value is the stricter one.
struct Approval {
  uint32_t timeout_seconds = 0;  // how long a call waits for an answer; then it is denied
  uint16_t rate = 0;             // questions a second, per session
  uint16_t burst = 0;            // questions at once, after a pause
};
inline constexpr uint32_t kMaxApprovalTimeout = 3600;
inline constexpr uint16_t kMaxApprovalRate = 100;
inline constexpr uint16_t kMaxApprovalBurst = 100;
// Where no policy says otherwise.
inline constexpr Approval kDefaultApproval{.timeout_seconds = 60, .rate = 10, .burst = 5};

// A rule as it was written: checked, variables not yet filled in.
struct Rule {
  std::string name;
  std::vector<Pattern> patterns{};  // the names that it is about, for classes that judge names
  uint32_t operations = 0;          // mask of bit(Operation): all of the class's where the policy names none
  Verdict decision = Verdict::deny;
  std::string guidance{};  // shown to the user beside a denial; may be empty
  int line = 0;            // where the rule starts, from 1

  [[nodiscard]] bool restricts() const { return decision == Verdict::deny || decision == Verdict::ask; }
};

// What a policy says of one class.
struct ClassPolicy {
  bool enabled = true;          // by each of the switches that it has
  Mode action = Mode::enforce;  // enforce or audit
  // Absent: the class is unmediated by this policy. Present and empty: everything is denied.
  std::optional<std::vector<Rule>> rules;
};

// A policy as it was written, complete. Made by read_policy() only.
struct Policy {
  std::string name;
  std::string file;  // as messages call it

  bool seccomp_enabled = true;       // false: nothing is filtered, as mode disabled
  Mode mode = Mode::enforce;         // sandbox.seccomp.mode
  bool monitor_unsupported = false;  // on_unsupported: monitor
  Approval approval;
  std::array<ClassPolicy, kClasses> classes;

  [[nodiscard]] ClassPolicy& of(Class c) { return classes.at(static_cast<size_t>(c)); }
  [[nodiscard]] const ClassPolicy& of(Class c) const { return classes.at(static_cast<size_t>(c)); }
  [[nodiscard]] Mode effective_mode() const { return seccomp_enabled ? mode : Mode::disabled; }
  // True if this policy judges the class at all.
  [[nodiscard]] bool judges(Class c) const {
    return effective_mode() != Mode::disabled && of(c).enabled && of(c).rules.has_value();
  }
  // The mode in force for the class: audit if either switch says so.
  [[nodiscard]] Mode mode_of(Class c) const {
    const Mode m = effective_mode();
    return m == Mode::enforce && of(c).action == Mode::audit ? Mode::audit : m;
  }
  // Of all classes.
  [[nodiscard]] size_t rule_count() const;
  [[nodiscard]] bool uses(Variable variable) const;
  template <class Visit>
  void for_each_rule(Visit visit) const {
    for (const ClassPolicy& c : classes) {
      if (c.rules) std::ranges::for_each(*c.rules, visit);
    }
  }
};

}  // namespace wrapd::policy
