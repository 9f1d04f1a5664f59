// SPDX-License-Identifier: Apache-2.0
#pragma once

// wrapctl has one file for each verb. A verb declares itself and its options here and in main.cc's list, and leaves its
// action in `run`; main() calls it once the command line is known to be right.

#include <CLI/CLI.hpp>
#include <functional>

namespace wrapd::wrapctl {

// Exit codes of every verb; `denied` is an answer, `failed` is none.
enum Exit : int { kOk = 0, kDenied = 1, kFailed = 2 };

struct Context {
  bool json = false;         // --json: one JSON document to stdout
  std::function<int()> run;  // set by the verb that was chosen; gives the exit code
};

void add_policy_check(CLI::App& policy, Context& context);
void add_policy_test(CLI::App& policy, Context& context);

}  // namespace wrapd::wrapctl
