// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/wrapctl/agent.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/session_json.h"
#include "client/wrapctl/table.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

std::vector<Cell> row_of(const Question& q, uint64_t now) {
  return {{safe_text(q.id).substr(0, 8)},
          {safe_text(session_of_object(q.session)).substr(0, 8)},
          {user_name(q.uid)},
          {safe_text(q.comm) + "[" + std::to_string(q.pid) + "]"},
          {safe_text(q.operation)},
          {safe_text(q.rule)},
          {age(now, q.deadline)},
          {shown_target(q.target, q.abstract)}};
}

int list(const Context& context) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto questions = service->questions();
  if (!questions) return report(context, questions.error());
  if (context.json) {
    auto out = nlohmann::json::array();
    for (const auto& question : *questions) out.push_back(to_json(question));
    print_json({{"approvals", out}});
    return kOk;
  }
  Table table({"ID", "SESSION", "USER", "PROGRAM", "OPERATION", "RULE", "LEFT", "TARGET"});
  for (const auto& question : *questions) {
    table.add(row_of(question, now_usec()), safe_text(question.guidance));
  }
  std::cout << table.render(terminal_width());
  return kOk;
}

BusResult<std::string> find_question(Service& service, const std::string& given) {
  auto questions = service.questions();
  if (!questions) return std::unexpected(questions.error());
  std::vector<std::string> ids;
  for (const auto& question : *questions) ids.push_back(question.id);
  return find_id(ids, given, "question");
}

int answer(const Context& context, const std::string& given, bool allow) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto id = find_question(*service, given);
  if (!id) return report(context, id.error());
  BusResult<> done;
  {
    PasswordAgent agent(!context.no_ask_password);
    done = service->answer(*id, allow);
  }
  if (!done) return report(context, done.error());
  const char* answered = allow ? "allowed" : "denied";
  if (context.json) {
    print_json({{"id", safe_text(*id)}, {"answer", answered}});
  } else {
    std::cout << answered << ' ' << safe_text(*id) << '\n';
  }
  return kOk;
}

void add_answer(Verb& approvals, Context& context, const char* name, const char* help, bool allow) {
  auto* verb = approvals.add_subcommand(name, help);
  auto id = std::make_shared<std::string>();
  verb->add_option("ID", *id, "the question's id, or its first digits (4 at least)")->required();
  verb->callback(
      [&context, id, allow] { context.run = [&context, id, allow] { return answer(context, *id, allow); }; });
}

}  // namespace

void add_approvals(Verb& app, Context& context) {
  auto* verb = app.add_subcommand("approvals", "list the questions of programs that wait, and answer them");
  verb->require_subcommand(0, 1);
  verb->footer(
      "An answer holds for the same operation on the same object while the session lasts.\n"
      "For one's own sessions it takes org.wrapd1.approve-own of polkit, for others' org.wrapd1.approve.");
  verb->callback([&context, verb] {
    if (!verb->has_chosen_subcommand()) context.run = [&context] { return list(context); };
  });
  add_answer(*verb, context, "allow", "let the program do what it asks for", true);
  add_answer(*verb, context, "deny", "refuse what the program asks for", false);
}

}  // namespace wrapd::wrapctl
