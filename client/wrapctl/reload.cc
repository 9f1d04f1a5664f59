// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/wrapctl/agent.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

int run(const Context& context) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  BusResult<> done;
  {
    PasswordAgent agent(!context.no_ask_password);
    done = service->reload();
  }
  if (!done) return report(context, done.error());
  if (context.json) {
    print_json({{"reloaded", true}});
  } else {
    std::cout << "reloaded; sessions that run keep the policy that they were opened with\n";
  }
  return kOk;
}

}  // namespace

void add_reload(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("reload", "have the service read its configuration and policies again");
  verb->footer(
      "Whole or not at all: if anything is wrong, what was in force stays in force.\n"
      "Asks for org.wrapd1.reload of polkit, or root.");
  verb->callback([&context] { context.run = [&context] { return run(context); }; });
}

}  // namespace wrapd::wrapctl
