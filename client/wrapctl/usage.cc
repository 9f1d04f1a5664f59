// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/usage.h"

#include <string_view>
#include <vector>

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

}  // namespace

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

bool wants_json(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

}  // namespace wrapd::wrapctl
