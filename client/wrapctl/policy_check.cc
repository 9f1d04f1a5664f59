// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/io.h"
#include "client/wrapctl/caller.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/verbs.h"
#include "policy/load.h"
#include "policy/rules.h"

namespace wrapd::wrapctl {
namespace {

Result<policy::Policy> check(const std::string& file) {
  auto loaded = policy::load_policy_file(file, false);
  if (!loaded) return loaded;
  auto variables = variables_of(std::nullopt);
  if (!variables) return std::unexpected(variables.error());
  // Sizes, and what only shows with the variables filled in.
  if (auto rules = policy::compile_rules(*loaded, *variables); !rules) return std::unexpected(rules.error());
  return loaded;
}

int run(const Context& context, const std::string& file) {
  auto checked = check(file);
  size_t rules = checked && checked->unix_socket_rules ? checked->unix_socket_rules->size() : 0;
  if (context.json) {
    nlohmann::json out = {{"file", printable(file)}, {"ok", checked.has_value()}};
    if (checked) {
      out["policy"] = checked->name;
      out["rules"] = rules;
    } else {
      out["error"] = printable(checked.error().message);
    }
    std::cout << out.dump() << '\n';
  } else if (checked) {
    std::cout << printable(file) << ": ok (" << rules << (rules == 1 ? " rule)" : " rules)") << '\n';
  } else {
    std::cerr << checked.error().message << '\n';
  }
  if (!checked) return kFailed;
  if (auto trusted = policy::load_policy_file(file, true); !trusted) {
    print_error("note: the service would not read this file: " + trusted.error().message);
  }
  return kOk;
}

}  // namespace

void add_policy_check(CLI::App& policy, Context& context) {
  auto* verb = policy.add_subcommand("check", "say whether a policy file is right (exit 0) or what is wrong (exit 2)");
  auto file = std::make_shared<std::string>();
  verb->add_option("FILE", *file, "policy file")->required();
  verb->callback([&context, file] { context.run = [&context, file] { return run(context, *file); }; });
}

}  // namespace wrapd::wrapctl
