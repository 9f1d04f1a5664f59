// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/table.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

nlohmann::json json_of(const PolicyEntry& policy) {
  auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json() : nlohmann::json(safe_text(text));
  };
  return {{"name", safe_text(policy.name)},
          {"file", safe_text(policy.file)},
          {"mode", or_null(policy.mode)},
          {"default", policy.is_default},
          {"problem", or_null(policy.problem)}};
}

int run(const Context& context) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto policies = service->policies();
  if (!policies) return report(context, policies.error());
  if (context.json) {
    auto list = nlohmann::json::array();
    for (const auto& policy : *policies) list.push_back(json_of(policy));
    print_json({{"policies", list}});
    return kOk;
  }
  Table table({"NAME", "MODE", "DEFAULT", "FILE", "PROBLEM"});
  for (const auto& policy : *policies) {
    table.add({{safe_text(policy.name), policy.problem.empty() ? Colour::none : Colour::red},
               {policy.mode.empty() ? "-" : safe_text(policy.mode)},
               {policy.is_default ? "yes" : "-"},
               {safe_text(policy.file)},
               {policy.problem.empty() ? "-" : safe_text(policy.problem)}});
  }
  std::cout << table.render(terminal_width());
  return kOk;
}

}  // namespace

void add_policy_list(Verb& policy, Context& context) {
  auto* verb =
      policy.add_subcommand("list", "list the policies that you may use; root: all, and those that are broken");
  verb->callback([&context] { context.run = [&context] { return run(context); }; });
}

}  // namespace wrapd::wrapctl
