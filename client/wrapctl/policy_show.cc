// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {
namespace {

int run(const Context& context, const std::string& name) {
  auto service = Service::connect();
  if (!service) return report(context, service.error());
  auto policy = service->describe_policy(name);
  if (!policy) return report(context, policy.error());
  if (context.json) {
    print_json({{"name", safe_text(name)},
                {"file", safe_text(policy->file)},
                {"mode", safe_text(policy->mode)},
                {"text", policy->text}});
    return kOk;
  }
  for (std::string_view rest = policy->text; !rest.empty();) {
    size_t end = rest.find('\n');
    std::cout << safe_text(rest.substr(0, end)) << '\n';
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return kOk;
}

}  // namespace

void add_policy_show(Verb& policy, Context& context) {
  auto* verb = policy.add_subcommand("show", "print the text of a policy as it is in force");
  auto name = std::make_shared<std::string>();
  verb->add_option("NAME", *name, "the policy's name (wrapctl policy list)")->required();
  verb->callback([&context, name] { context.run = [&context, name] { return run(context, *name); }; });
}

}  // namespace wrapd::wrapctl
