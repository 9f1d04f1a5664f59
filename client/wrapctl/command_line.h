// SPDX-License-Identifier: Apache-2.0
#pragma once

// The command line as the verbs see it. CLI11 is behind this header and compiled once, in command_line.cc: it consists
// of headers, and every file that includes it compiles all of it again.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace wrapd::wrapctl {

// One option or argument. What a declaration gives belongs to the CommandLine, like all below.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(option) {}

  Option* required();
  Option* type_name(const std::string& name);
  Option* excludes(Option* other);
  Option* range(uint64_t least, uint64_t most);

 private:
  CLI::Option& option_;
};

// wrapctl itself, a verb of it, or a group of a verb's options.
class Verb {
 public:
  explicit Verb(CLI::App& app) : app_(app) {}

  Verb* add_subcommand(const std::string& name, const std::string& help);
  Verb* add_option_group(const std::string& name);
  Option* add_option(const std::string& name, std::string& value, const std::string& help);
  Option* add_option(const std::string& name, std::optional<std::string>& value, const std::string& help);
  Option* add_option(const std::string& name, std::optional<uint64_t>& value, const std::string& help);
  Option* add_option(const std::string& name, std::vector<std::string>& values, const std::string& help);
  Option* add_flag(const std::string& name, bool& value, const std::string& help);
  // Exactly so many options of this group; so many subcommands, at least and at most.
  void require_option(int count);
  void require_subcommand(size_t least, size_t most);
  // Options that a subcommand does not know are looked for here.
  void fallthrough();
  // The last lines of --help.
  void footer(const std::string& text);
  void callback(std::function<void()> called);
  // True if one of its subcommands was on the command line.
  [[nodiscard]] bool has_chosen_subcommand() const;

 private:
  Option* keep(CLI::Option& option);
  Verb* keep(CLI::App& app);

  CLI::App& app_;
  std::vector<std::unique_ptr<Option>> options_;
  std::vector<std::unique_ptr<Verb>> verbs_;
};

class CommandLine {
 public:
  CommandLine(const std::string& description, const std::string& name, const std::string& version);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  [[nodiscard]] Verb& program() { return program_; }

  struct End {
    int status = 0;       // after --help or --version, which were answered
    std::string problem;  // one line that says what is wrong, with the word that is, and where help is; or empty
  };
  // Nothing if the command line is right: the callback of the verb that was chosen has run.
  [[nodiscard]] std::optional<End> parse(int argc, char** argv);

 private:
  std::unique_ptr<CLI::App> app_;
  Verb program_;
};

// True if --json is among the arguments, however little of them was understood.
[[nodiscard]] bool wants_json(int argc, const char* const* argv);

}  // namespace wrapd::wrapctl
