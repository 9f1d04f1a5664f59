// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace wrapd::wrapctl {

// "wrapctl: MESSAGE" to stderr.
void print_error(std::string_view message);

enum class Colour { none, red, green };

// `text`, coloured if stdout is a terminal and NO_COLOR is not set (no-color.org).
void print_coloured(Colour colour, std::string_view text);

}  // namespace wrapd::wrapctl
