// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "wire/control.h"

namespace wrapd::client {

inline constexpr size_t kSummaryLines = 20;

// Whose policies a denial may come from.
struct SummaryContext {
  std::string profile_file;    // --profile, or what stands in for it; empty: none
  std::string profile_policy;  // its name
};

// What to tell the user when CMD has ended: at most kSummaryLines lines, each ended by a newline and led by "wrap: " or
// blanks; empty if there is nothing to tell.
[[nodiscard]] std::string summary_text(const wire::Summary& summary, const SummaryContext& context);

// One line that says that a call waits, for as long as it does; at most PIPE_BUF long.
[[nodiscard]] std::string waiting_text(const wire::WaitingCall& call);

}  // namespace wrapd::client
