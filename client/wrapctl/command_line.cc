// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/command_line.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <utility>

#include "client/wrapctl/text.h"

namespace wrapd::wrapctl {
namespace {

// The verbs that were understood, down to the last: "wrapctl policy".
struct Reached {
  const CLI::App* app;
  std::string command;
};

Reached last_verb(const CLI::App& app) {
  Reached out{.app = &app, .command = app.get_name()};
  for (auto verbs = app.get_subcommands(); !verbs.empty(); verbs = out.app->get_subcommands()) {
    out.app = verbs.front();
    out.command += " " + out.app->get_name();
  }
  return out;
}

// Groups of options are subcommands without a name.
bool has_verbs(const CLI::App& app) {
  return !app.get_subcommands([](const CLI::App* verb) { return !verb->get_name().empty(); }).empty();
}

std::string usage_problem(const CLI::App& app, const CLI::ParseError& problem) {
  const Reached reached = last_verb(app);
  const std::string help = "; see " + reached.command + " --help";
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty() || unknown.front() == "--") {
    if (has_verbs(*reached.app) && dynamic_cast<const CLI::RequiredError*>(&problem) != nullptr) {
      return "a verb is missing" + help;
    }
    return safe_text(problem.what()) + help;
  }
  const std::string& word = unknown.front();
  const char* kind = word.starts_with('-') ? "option" : has_verbs(*reached.app) ? "verb" : "argument";
  return "unknown " + std::string(kind) + " '" + cut(safe_text(word), 256) + "'" + help;
}

}  // namespace

Option* Option::required() {
  option_.required();
  return this;
}

Option* Option::type_name(const std::string& name) {
  option_.type_name(name);
  return this;
}

Option* Option::excludes(Option* other) {
  option_.excludes(&other->option_);
  return this;
}

Option* Option::range(uint64_t least, uint64_t most) {
  option_.check(CLI::Range(least, most));
  return this;
}

Verb* Verb::add_subcommand(const std::string& name, const std::string& help) {
  return keep(*app_.add_subcommand(name, help));
}

Verb* Verb::add_option_group(const std::string& name) {
  return keep(*app_.add_option_group(name));
}

Option* Verb::add_option(const std::string& name, std::string& value, const std::string& help) {
  return keep(*app_.add_option(name, value, help));
}

Option* Verb::add_option(const std::string& name, std::optional<std::string>& value, const std::string& help) {
  return keep(*app_.add_option(name, value, help));
}

Option* Verb::add_option(const std::string& name, std::optional<uint64_t>& value, const std::string& help) {
  return keep(*app_.add_option(name, value, help));
}

Option* Verb::add_option(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  return keep(*app_.add_option(name, values, help));
}

Option* Verb::add_flag(const std::string& name, bool& value, const std::string& help) {
  return keep(*app_.add_flag(name, value, help));
}

void Verb::require_option(int count) {
  app_.require_option(count);
}

void Verb::require_subcommand(size_t least, size_t most) {
  app_.require_subcommand(least, most);
}

void Verb::fallthrough() {
  app_.fallthrough();
}

void Verb::footer(const std::string& text) {
  app_.footer(text);
}

void Verb::callback(std::function<void()> called) {
  app_.callback(std::move(called));
}

bool Verb::has_chosen_subcommand() const {
  return !std::as_const(app_).get_subcommands().empty();
}

Option* Verb::keep(CLI::Option& option) {
  return options_.emplace_back(std::make_unique<Option>(option)).get();
}

Verb* Verb::keep(CLI::App& app) {
  return verbs_.emplace_back(std::make_unique<Verb>(app)).get();
}

CommandLine::CommandLine(const std::string& description, const std::string& name, const std::string& version)
    : app_(std::make_unique<CLI::App>(description, name)), program_(*app_) {
  app_->set_version_flag("--version", version);
}

CommandLine::~CommandLine() = default;

std::optional<CommandLine::End> CommandLine::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    // --help and --version.
    if (e.get_exit_code() == 0) return End{.status = app_->exit(e, std::cout, std::cerr), .problem = {}};
    return End{.problem = usage_problem(*app_, e)};
  }
}

bool wants_json(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

}  // namespace wrapd::wrapctl
