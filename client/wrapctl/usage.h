// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace wrapd::wrapctl {

// One line that says what is wrong with the command line, with the word that is, and where help is. `app` has thrown
// `problem` when it parsed.
[[nodiscard]] std::string usage_problem(const CLI::App& app, const CLI::ParseError& problem);

// True if --json is among the arguments, however little of them was understood.
[[nodiscard]] bool wants_json(int argc, const char* const* argv);

}  // namespace wrapd::wrapctl
