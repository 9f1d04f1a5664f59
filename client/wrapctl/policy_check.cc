// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/io.h"
#include "client/wrapctl/caller.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/verbs.h"
#include "config.h"
#include "policy/rules.h"
#include "policyfile/installed.h"
#include "policyfile/lint.h"
#include "policyfile/load.h"
#include "policyfile/service_config.h"

namespace wrapd::wrapctl {
namespace {

constexpr size_t kMaxConfig = 1U << 20;

struct Checked {
  policy::Policy policy;
  std::vector<std::string> warnings;
  std::vector<std::string> void_denials;  // what was to deny or to ask and matches nothing here
};

Result<Checked> check(const std::string& file) {
  auto loaded = policyfile::load_policy_file(file, false);
  if (!loaded) return std::unexpected(loaded.error());
  auto variables = variables_of(std::nullopt);
  if (!variables) return std::unexpected(variables.error());
  // Sizes, and what only shows with the variables filled in.
  if (auto rules = policy::compile_rules(*loaded, *variables); !rules) return std::unexpected(rules.error());
  Checked out{.policy = std::move(*loaded), .warnings = {}, .void_denials = {}};
  for (const auto& remark : policyfile::lint(out.policy)) {
    if (remark.void_denial) {
      out.void_denials.push_back(remark.as_error());
    } else {
      out.warnings.push_back(remark.as_warning());
    }
  }
  return out;
}

void print_failure(const Context& context, const std::string& file, const Error& error) {
  if (context.json) {
    print_json({{"file", printable(file)}, {"ok", false}, {"error", printable(error.message)}});
  } else {
    std::cerr << error.message << '\n';
  }
}

void print_checked(const Context& context, const std::string& file, const Checked& checked) {
  const bool good = checked.void_denials.empty();
  const size_t rules = checked.policy.rule_count();
  if (context.json) {
    nlohmann::json out = {{"file", printable(file)},
                          {"ok", good},
                          {"policy", checked.policy.name},
                          {"rules", rules},
                          {"warnings", checked.warnings}};
    if (!good) out["error"] = checked.void_denials.front();
    if (!good) out["void"] = checked.void_denials;
    print_json(out);
    return;
  }
  for (const auto& line : checked.void_denials) std::cerr << line << '\n';
  for (const auto& line : checked.warnings) std::cerr << line << '\n';
  if (good) std::cout << printable(file) << ": ok (" << rules << (rules == 1 ? " rule)" : " rules)") << '\n';
}

void note_distrust(const Error& error) {
  print_error("note: the service would not read this file: " + error.message);
}

// The policies that a configuration can grant: those beside it, or where it has none, those of this machine. A file
// that cannot be read as a policy counts by its name: it is no fault of the configuration's.
Result<std::vector<std::string>> installed_beside(const std::string& config) {
  std::string directory = std::filesystem::absolute(config).parent_path() / "policies";
  auto absent = policyfile::is_absent(directory);
  if (!absent) return std::unexpected(absent.error());
  if (*absent) directory = WRAPD_CONFIG_DIR "/policies";
  const std::string directories[] = {directory, WRAPD_VENDOR_POLICY_DIR};
  auto files = policyfile::policy_files(directories);
  if (!files) return std::unexpected(files.error());
  std::vector<std::string> names;
  for (const auto& [name, path] : *files) {
    auto policy = policyfile::load_policy_file(path, false);
    names.push_back(policy ? policy->name : name.substr(0, name.size() - std::string_view(".yaml").size()));
  }
  return names;
}

Result<policyfile::ServiceConfig> load_config(const std::string& file) {
  auto text = read_file(file, kMaxConfig);
  if (!text) return std::unexpected(text.error());
  auto config = policyfile::load_service_config(*text, printable(file));
  if (!config) return config;
  auto installed = installed_beside(file);
  if (!installed) return std::unexpected(installed.error());
  if (auto granted = policyfile::check_granted(*config, file, *installed); !granted)
    return std::unexpected(granted.error());
  return config;
}

int check_config(const Context& context, const std::string& file) {
  auto config = load_config(file);
  if (!config) {
    print_failure(context, file, config.error());
    return kFailed;
  }
  const size_t entries = config->access.size();
  if (context.json) {
    print_json({{"file", printable(file)}, {"ok", true}, {"access", entries}});
  } else {
    std::cout << printable(file) << ": ok (" << entries << (entries == 1 ? " access entry)" : " access entries)")
              << '\n';
  }
  // Unlike a policy the configuration may be a link.
  auto trusted = policyfile::read_policy_file(file, true);
  if (!trusted && trusted.error().code != ELOOP) note_distrust(trusted.error());
  return kOk;
}

int check_policy(const Context& context, const std::string& file) {
  auto checked = check(file);
  if (!checked) {
    print_failure(context, file, checked.error());
    return kFailed;
  }
  print_checked(context, file, *checked);
  if (auto trusted = policyfile::load_policy_file(file, true); !trusted) note_distrust(trusted.error());
  return checked->void_denials.empty() ? kOk : kDenied;
}

// The service's configuration is known by its name, as policies are by their directory.
int run(const Context& context, const std::string& file) {
  const bool is_config = std::filesystem::path(file).filename() == "wrapd.yaml";
  return is_config ? check_config(context, file) : check_policy(context, file);
}

}  // namespace

void add_policy_check(Verb& policy, Context& context) {
  auto* verb = policy.add_subcommand(
      "check", "say whether a policy file is right (exit 0), denies in vain (1), or what is wrong (2)");
  auto file = std::make_shared<std::string>();
  verb->add_option("FILE", *file, "policy file, or the service's wrapd.yaml")->required();
  verb->callback([&context, file] { context.run = [&context, file] { return run(context, *file); }; });
}

}  // namespace wrapd::wrapctl
