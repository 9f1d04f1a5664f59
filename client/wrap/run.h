// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "client/wrap/exec_plan.h"
#include "client/wrap/launch.h"
#include "client/wrap/options.h"
#include "client/wrap/profile.h"
#include "client/wrap/signals.h"
#include "client/wrap/summary.h"
#include "client/wrap/watch.h"
#include "wire/control.h"

namespace wrapd::client {

// Both run CMD under supervision and return wrap's exit status; an error means that wrap failed (status 125).
//
// With the service: the administrator's policy, and the user's profile if there is one.
[[nodiscard]] Result<int> run_brokered(const Options& options, InheritedSignals& signals);
// Without: the profile alone, supervised by a process of the user's own.
[[nodiscard]] Result<int> run_standalone(const Options& options, InheritedSignals& signals);

// What the two have in common.

// CMD and its arguments as one line, cut to wire::kMaxCommand bytes.
[[nodiscard]] std::string shown_command(const Options& options);
// The working directory, absolute.
[[nodiscard]] Result<std::string> working_directory();
// --explain.
[[nodiscard]] std::string explain(const wire::SessionReply& reply, const CompiledProfile* profile,
                                  const std::string& profile_file, size_t filter_instructions);
void print_notices(const Options& options, const std::vector<std::string>& notices);

// From the moment at which CMD was let go: watches it to its end, tells what was denied, and returns wrap's exit
// status. `launch` is the command's if it is our own child, else nullptr.
[[nodiscard]] Result<int> see_through(const Options& options, Watch& watch, const WatchSpec& spec, const ExecPlan& exec,
                                      const Launch* launch, const SummaryContext& context);

}  // namespace wrapd::client
