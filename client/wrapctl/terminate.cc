// SPDX-License-Identifier: Apache-2.0
#include <pwd.h>

#include <charconv>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "client/wrapctl/agent.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

struct Options {
  std::vector<std::string> ids;
  std::optional<std::string> user;
  bool all = false;
};

// What was done, and what was not.
struct Outcome {
  uint64_t count = 0;
  std::vector<std::string> ids;  // those that were named
  std::vector<BusError> failures;
};

BusResult<uint32_t> uid_of(const std::string& user) {
  uint32_t uid = 0;
  auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (error == std::errc() && end == user.data() + user.size()) return uid;
  errno = 0;
  if (const passwd* entry = ::getpwnam(user.c_str())) return entry->pw_uid;
  return std::unexpected(
      BusError{"org.wrapd1.Error.InvalidArgument", "there is no user '" + safe_text(user) + "'; give a name or a uid"});
}

void terminate_user(Service& service, uint32_t uid, Outcome& outcome) {
  if (auto count = service.terminate_user(uid)) {
    outcome.count += *count;
  } else {
    outcome.failures.push_back(count.error());
  }
}

// By user and not one by one: polkit asks once for each, and sessions that come meanwhile are caught too.
void terminate_all(Service& service, Outcome& outcome) {
  auto sessions = service.sessions();
  if (!sessions) {
    outcome.failures.push_back(sessions.error());
    return;
  }
  std::set<uint32_t> users;
  for (const auto& session : *sessions) users.insert(session.uid);
  for (uint32_t uid : users) terminate_user(service, uid, outcome);
}

void terminate_named(Service& service, const std::vector<std::string>& given, Outcome& outcome) {
  auto sessions = service.sessions();
  if (!sessions) {
    outcome.failures.push_back(sessions.error());
    return;
  }
  std::vector<std::string> ids;
  for (const auto& session : *sessions) ids.push_back(session.id);
  // All are found before the first is ended: a mistake in one must not leave half of the work done.
  std::set<std::string> wanted;
  for (const auto& one : given) {
    if (auto id = find_id(ids, one, "session")) {
      wanted.insert(*id);
    } else {
      outcome.failures.push_back(id.error());
    }
  }
  if (!outcome.failures.empty()) return;
  for (const auto& id : wanted) {
    if (auto done = service.terminate(id)) {
      ++outcome.count;
      outcome.ids.push_back(id);
    } else {
      outcome.failures.push_back(done.error());
    }
  }
}

void print(const Context& context, const Outcome& outcome) {
  if (context.json) {
    nlohmann::json out = {{"count", outcome.count}, {"terminated", outcome.ids}};
    out["failed"] = nlohmann::json::array();
    for (const auto& failure : outcome.failures) {
      out["failed"].push_back({{"error", failure.message}, {"code", error_code(failure)}});
    }
    print_json(out);
    return;
  }
  for (const auto& failure : outcome.failures) print_error(failure.message);
  if (outcome.count > 0 || outcome.failures.empty()) {
    std::cout << "terminated " << outcome.count << (outcome.count == 1 ? " session\n" : " sessions\n");
  }
}

int run(const Context& context, const Options& options) {
  std::optional<uint32_t> uid;
  if (options.user) {
    auto found = uid_of(*options.user);
    if (!found) return report(context, found.error());
    uid = *found;
  }
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  Outcome outcome;
  {
    PasswordAgent agent(!context.no_ask_password);
    if (options.all) {
      terminate_all(*service, outcome);
    } else if (uid) {
      terminate_user(*service, *uid, outcome);
    } else {
      terminate_named(*service, options.ids, outcome);
    }
  }
  print(context, outcome);
  return outcome.failures.empty() ? kOk : kFailed;
}

}  // namespace

void add_terminate(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("terminate", "end sessions: everything that runs in them is killed");
  auto options = std::make_shared<Options>();
  auto* which = verb->add_option_group("sessions");
  which->add_option("ID", options->ids, "ids of sessions, or their first digits (4 at least)");
  which->add_option("--user", options->user, "all sessions of this user (name or uid)");
  which->add_flag("--all", options->all, "all sessions of all users");
  which->require_option(1);
  verb->footer("One's own sessions: everybody. Those of others: org.wrapd1.manage-sessions of polkit, or root.");
  verb->callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace wrapd::wrapctl
