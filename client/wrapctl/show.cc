// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/session_json.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

void line(std::string_view name, const std::string& value) {
  std::cout << std::setw(8) << std::right << name << ": " << value << '\n';
}

void print(const Session& s) {
  line("ID", safe_text(s.id));
  line("User", user_name(s.uid) + " (" + std::to_string(s.uid) + ")");
  line("Policy",
       safe_text(s.policy) + (s.stale ? painted(Colour::yellow, " (stale: another one is in force now)") : ""));
  line("Mode", safe_text(s.mode));
  line("State", safe_text(s.state));
  line("Since", local_time(s.since) + " (" + age(s.since, now_usec()) + ")");
  line("Leader", std::to_string(s.leader));
  line("Allowed", std::to_string(s.allowed));
  line("Denied", painted(s.denied > 0 ? Colour::red : Colour::none, std::to_string(s.denied)));
  line("Command", safe_text(s.command));
}

int run(const Context& context, const std::string& given) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto sessions = service->sessions();
  if (!sessions) return report(context, sessions.error());
  std::vector<std::string> ids;
  for (const auto& session : *sessions) ids.push_back(session.id);
  auto id = find_id(ids, given, "session");
  if (!id) return report(context, id.error());
  auto session = *std::ranges::find(*sessions, *id, &Session::id);
  // A session that has just ended is shown as it was listed.
  if (auto whole = service->whole_command(session); whole) session.command = *whole;
  if (context.json) {
    print_json(to_json(session));
  } else {
    print(session);
  }
  return kOk;
}

}  // namespace

void add_show(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("show", "show all that is known of a session");
  auto id = std::make_shared<std::string>();
  verb->add_option("ID", *id, "the session's id, or its first digits (4 at least)")->required();
  verb->callback([&context, id] { context.run = [&context, id] { return run(context, *id); }; });
}

}  // namespace wrapd::wrapctl
