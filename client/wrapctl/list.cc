// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/session_json.h"
#include "client/wrapctl/table.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

std::vector<Cell> row_of(const Session& s, uint64_t now) {
  std::string policy = safe_text(s.policy) + (s.stale ? " (stale)" : "");
  return {{safe_text(s.id).substr(0, 8)},
          {user_name(s.uid)},
          {policy, s.stale ? Colour::yellow : Colour::none},
          {safe_text(s.mode), s.mode == "enforce" ? Colour::none : Colour::yellow},
          {safe_text(s.state), s.state == "terminating" ? Colour::red : Colour::none},
          {age(s.since, now)},
          {std::to_string(s.denied), s.denied > 0 ? Colour::red : Colour::none},
          {safe_text(s.command)}};
}

int run(const Context& context, bool mine) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto sessions = service->sessions();
  if (!sessions) return report(context, sessions.error());
  if (mine) std::erase_if(*sessions, [](const Session& s) { return s.uid != ::getuid(); });
  if (context.json) {
    auto list = nlohmann::json::array();
    for (const auto& session : *sessions) list.push_back(to_json(session));
    print_json({{"sessions", list}});
    return kOk;
  }
  Table table({"ID", "USER", "POLICY", "MODE", "STATE", "SINCE", "DENIED", "COMMAND"});
  for (const auto& session : *sessions) table.add(row_of(session, now_usec()));
  std::cout << table.render(terminal_width());
  return kOk;
}

}  // namespace

void add_list(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("list", "list the sessions");
  auto mine = std::make_shared<bool>(false);
  verb->add_flag("--mine", *mine, "only those of the user who asks");
  verb->footer("A policy marked (stale) is an older one than the policy of that name that is in force now.");
  verb->callback([&context, mine] { context.run = [&context, mine] { return run(context, *mine); }; });
}

}  // namespace wrapd::wrapctl
