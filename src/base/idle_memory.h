// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace wrapd {

// How long nothing happens before a process that waits gives its pages back: commands that are over by then never pay.
inline constexpr std::chrono::seconds kIdleAfter{1};

// Unmaps the pages of the program's own file that are as they are on disk: code, constants. What is needed again is
// mapped again, one fault for sixteen pages. Most of what a process that waits has mapped it ran once, at its start.
void release_program_pages() noexcept;

}  // namespace wrapd
