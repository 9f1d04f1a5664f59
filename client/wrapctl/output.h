// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace wrapd::wrapctl {

// "wrapctl: MESSAGE" to stderr.
void print_error(std::string_view message);

// One JSON document and a newline to stdout: ASCII alone, so that no string in it can act on a terminal.
void print_json(const nlohmann::json& document);

enum class Colour { none, red, green, yellow };

// `text`, coloured if stdout is a terminal and NO_COLOR is not set (no-color.org).
[[nodiscard]] std::string painted(Colour colour, std::string_view text);

// Columns of the terminal that stdout is: COLUMNS, else as the terminal says. None: stdout is no terminal.
[[nodiscard]] std::optional<size_t> terminal_width();

}  // namespace wrapd::wrapctl
