// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is right in a policy as text and void on this machine: what is judged is where a name really leads, so a pattern
// that begins with a symbolic link to a directory is never met by name.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "policy/model.h"

namespace wrapd::policyfile {

struct Remark {
  std::string place;         // "FILE:LINE:COL"
  std::string text;          // what, and what would be right; printable
  bool void_denial = false;  // the pattern was to deny or to ask, and does neither

  [[nodiscard]] std::string as_error() const { return place + ": " + text; }
  [[nodiscard]] std::string as_warning() const { return place + ": warning: " + text; }
};

inline constexpr size_t kMaxRemarks = 64;

// Looks up the directories of every pattern as far as they have neither wildcards nor variables. Mounts nothing, opens
// nothing but directories and links (O_PATH), and says nothing of what it cannot see. May block on a file system, and
// so is not for the service. At most kMaxRemarks.
[[nodiscard]] std::vector<Remark> lint(const policy::Policy& policy);

}  // namespace wrapd::policyfile
