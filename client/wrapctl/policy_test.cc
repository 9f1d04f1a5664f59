// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/io.h"
#include "client/wrapctl/caller.h"
#include "client/wrapctl/output.h"
#include "client/wrapctl/verbs.h"
#include "policy/classes.h"
#include "policy/test_policy.h"
#include "policyfile/load.h"

namespace wrapd::wrapctl {
namespace {

using policy::Operation;

struct Options {
  std::string file;
  std::optional<std::string> connect, bind, listen;
  std::optional<std::string> user;
};

struct Question {
  Operation operation = Operation::connect;
  std::string asked;   // as on the command line
  std::string judged;  // a path without symbolic links, or '@' and an abstract name
  [[nodiscard]] bool abstract() const { return judged.starts_with('@'); }
};

struct Answer : policy::TestAnswer {
  std::string policy;
};

// The supervisor judges where a path really leads. Here as far as the path exists and can be seen.
Result<std::string> real_path(Operation operation, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failure;
  fs::path absolute = fs::absolute(path, failure);
  if (failure) return fail("cannot make '" + printable(path) + "' absolute: " + failure.message());
  if (operation == Operation::connect) {
    auto real = fs::weakly_canonical(absolute, failure);
    if (!failure) return real.string();
  } else {
    // bind does not follow a link in the last place.
    auto normal = absolute.lexically_normal();
    auto parent = fs::weakly_canonical(absolute.parent_path(), failure);
    if (!failure) return (parent / normal.filename()).string();
  }
  return fail("cannot resolve '" + printable(path) + "': " + failure.message() + "; ask as a user who can");
}

Result<Question> question_of(const Options& options) {
  Question q;
  if (options.connect) {
    q.asked = *options.connect;
  } else if (options.bind) {
    q.operation = Operation::bind;
    q.asked = *options.bind;
  } else {
    q.operation = Operation::listen;
    q.asked = *options.listen;
  }
  if (q.asked.empty() || q.asked == "@") return fail("name a path or an abstract '@name'");
  if (q.asked.front() == '@') {
    q.judged = q.asked;
    return q;
  }
  if (q.asked.back() == '/') return fail("'" + printable(q.asked) + "' names a directory; name a socket");
  auto real = real_path(q.operation, q.asked);
  if (!real) return std::unexpected(real.error());
  q.judged = *real;
  return q;
}

Result<Answer> answer_to(const Question& question, const Options& options) {
  auto loaded = policyfile::load_policy_file(options.file, false);
  if (!loaded) return std::unexpected(loaded.error());
  auto variables = variables_of(options.user);
  if (!variables) return std::unexpected(variables.error());
  auto answer = policy::test_policy(*loaded, *variables, policy::with_name(question.operation, question.judged));
  if (!answer) return std::unexpected(answer.error());
  return Answer{std::move(*answer), std::move(loaded->name)};
}

void print_json(const Question& q, const Answer& a) {
  nlohmann::json out = {{"verdict", to_string(a.decision.verdict)},
                        {"recorded", to_string(a.decision.recorded)},
                        {"operation", to_string(q.operation)},
                        {"name", printable(q.judged)},
                        {"abstract", q.abstract()},
                        {"judged", a.judged},
                        {"policy", a.policy}};
  out["rule"] = a.rule.empty() ? nlohmann::json() : nlohmann::json(a.rule);
  out["guidance"] = a.guidance.empty() ? nlohmann::json() : nlohmann::json(a.guidance);
  std::cout << out.dump() << '\n';
}

void print_text(const Question& q, const Answer& a) {
  std::cout << painted(a.decision.permits() ? Colour::green : Colour::red, to_string(a.decision.verdict));
  if (a.decision.recorded != a.decision.verdict) {
    std::cout << " (audit mode; if it were enforced: " << to_string(a.decision.recorded) << ')';
  }
  std::cout << ": " << to_string(q.operation) << ' ' << printable(q.judged);
  if (!q.abstract() && q.judged != q.asked) std::cout << " (given as " << printable(q.asked) << ')';
  std::cout << '\n';
  if (!a.judged) {
    std::cout << "rule: none; this policy does not judge " << policy::entry_of(a.decision.of_class).noun << "s\n";
  } else if (a.rule.empty()) {
    std::cout << "rule: none matches, and what is not listed is denied\n";
  } else {
    std::cout << "rule: " << a.rule << '\n';
  }
  std::cout << "policy: " << a.policy << '\n';
  if (!a.guidance.empty()) std::cout << "guidance: " << a.guidance << '\n';
}

int run(const Context& context, const Options& options) {
  auto question = question_of(options);
  auto answer = question ? answer_to(*question, options) : std::unexpected(question.error());
  if (!answer) {
    if (context.json) {
      std::cout << nlohmann::json{{"error", printable(answer.error().message)}}.dump() << '\n';
    } else {
      print_error(answer.error().message);
    }
    return kFailed;
  }
  if (context.json) {
    print_json(*question, *answer);
  } else {
    print_text(*question, *answer);
  }
  return answer->decision.permits() ? kOk : kDenied;
}

}  // namespace

void add_policy_test(Verb& policy, Context& context) {
  auto* verb = policy.add_subcommand(
      "test", "say what a policy file does with a socket (exit 0: allowed, 1: denied or asked about)");
  auto options = std::make_shared<Options>();
  verb->add_option("FILE", options->file, "policy file")->required();
  auto* what = verb->add_option_group("operation");
  what->add_option("--connect", options->connect, "connect to PATH or to the abstract @NAME");
  what->add_option("--bind", options->bind, "bind to PATH or @NAME");
  what->add_option("--listen", options->listen, "listen at PATH or @NAME");
  what->require_option(1);
  verb->add_option("--user", options->user, "fill in ${HOME} and the like for this user (default: you)");
  verb->callback([&context, options] { context.run = [&context, options] { return run(context, *options); }; });
}

}  // namespace wrapd::wrapctl
