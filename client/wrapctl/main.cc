// SPDX-License-Identifier: Apache-2.0

#include <clocale>
#include <exception>
#include <iostream>

#include "client/wrapctl/command_line.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/verbs.h"
#include "config.h"

namespace wrapd::wrapctl {
namespace {

int run(int argc, char** argv) {
  // For the widths of characters. A locale that is not there leaves the plain one.
  std::setlocale(LC_CTYPE, "");
  CommandLine line("Looks after wrapped programs and their policies.", "wrapctl", "wrapctl " WRAPD_VERSION);
  Verb& app = line.program();
  app.require_subcommand(1, 1);
  Context context;
  app.add_flag("--json", context.json, "print one JSON document instead of text");
  app.add_flag("--no-ask-password", context.no_ask_password, "do not ask for a password on this terminal");
  app.fallthrough();
  app.footer("Exit status: 0 done or allowed, 1 denied or unusable, 2 failed. See wrapctl(1).");

  add_list(app, context);
  add_show(app, context);
  add_terminate(app, context);
  add_monitor(app, context);
  add_log(app, context);
  add_approvals(app, context);
  add_reload(app, context);
  add_doctor(app, context);
  auto* policy = app.add_subcommand("policy", "list, show and check policies, and ask what they say");
  policy->require_subcommand(1, 1);
  policy->fallthrough();
  add_policy_list(*policy, context);
  add_policy_show(*policy, context);
  add_policy_check(*policy, context);
  add_policy_test(*policy, context);

  if (auto end = line.parse(argc, argv)) {
    if (end->problem.empty()) return end->status;
    context.json = wants_json(argc, argv);
    return report(context, {"org.wrapd1.Error.InvalidArgument", end->problem});
  }
  int code = context.run();
  // A full disk behind stdout must not look like an answer.
  if (!std::cout.flush()) {
    print_error("cannot write the answer to standard output");
    return kFailed;
  }
  return code;
}

}  // namespace
}  // namespace wrapd::wrapctl

int main(int argc, char** argv) {
  try {
    return wrapd::wrapctl::run(argc, argv);
  } catch (const std::exception& e) {
    wrapd::wrapctl::print_error(e.what());
    return wrapd::wrapctl::kFailed;
  }
}
