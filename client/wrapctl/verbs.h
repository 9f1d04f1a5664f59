// SPDX-License-Identifier: Apache-2.0
#pragma once

// wrapctl has one file for each verb. A verb declares itself and its options here and in main.cc's list, and leaves its
// action in `run`; main() calls it once the command line is known to be right.

#include <functional>

#include "client/wrapctl/bus.h"
#include "client/wrapctl/command_line.h"

namespace wrapd::wrapctl {

// Exit codes of every verb; `denied` is an answer, `failed` is none.
enum Exit : int { kOk = 0, kDenied = 1, kFailed = 2 };

struct Context {
  bool json = false;             // --json: one JSON document to stdout; of what goes on, one for each line
  bool no_ask_password = false;  // --no-ask-password: start no agent that could ask on this terminal
  std::function<int()> run;      // set by the verb that was chosen; gives the exit code
};

// Says what failed (with --json as {"error", "code"} on stdout) and gives the exit code.
[[nodiscard]] int report(const Context& context, const BusError& error);
// The stable word for an error: "NoSuchSession"; the whole name where it is not the service's own.
[[nodiscard]] std::string error_code(const BusError& error);

void add_list(Verb& app, Context& context);
void add_show(Verb& app, Context& context);
void add_terminate(Verb& app, Context& context);
void add_monitor(Verb& app, Context& context);
void add_log(Verb& app, Context& context);
void add_approvals(Verb& app, Context& context);
void add_reload(Verb& app, Context& context);
void add_doctor(Verb& app, Context& context);
void add_policy_list(Verb& policy, Context& context);
void add_policy_show(Verb& policy, Context& context);
void add_policy_check(Verb& policy, Context& context);
void add_policy_test(Verb& policy, Context& context);

}  // namespace wrapd::wrapctl
