// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "client/wrapctl/bus.h"

namespace wrapd::wrapctl {

// The error as a line for people, "CONTEXT: what; what to do", with its name kept. `context` is what failed, on what:
// "cannot terminate session 0123abcd".
[[nodiscard]] BusError explain(const BusError& error, std::string_view context);

}  // namespace wrapd::wrapctl
