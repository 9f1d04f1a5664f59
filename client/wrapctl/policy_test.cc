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
#include "policy/layers.h"
#include "policy/rules.h"
#include "policyfile/load.h"

namespace wrapd::wrapctl {
namespace {

using policy::UnixOperation;

struct Options {
  std::string file;
  std::optional<std::string> connect, bind, listen;
  std::optional<std::string> user;
};

struct Question {
  UnixOperation operation = UnixOperation::connect;
  std::string asked;   // as on the command line
  std::string judged;  // a path without symbolic links, or an abstract name without '@'
  bool abstract = false;
};

struct Answer {
  std::string policy;
  bool judges = true;
  bool audit_only = false;
  policy::Decision decision;
  std::string rule;  // empty: none matched
  std::string guidance;
};

// The supervisor judges where a path really leads. Here as far as the path exists and can be seen.
Result<std::string> real_path(UnixOperation operation, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failure;
  fs::path absolute = fs::absolute(path, failure);
  if (failure) return fail("cannot make '" + printable(path) + "' absolute: " + failure.message());
  if (operation == UnixOperation::connect) {
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
    q.operation = UnixOperation::bind;
    q.asked = *options.bind;
  } else {
    q.operation = UnixOperation::listen;
    q.asked = *options.listen;
  }
  if (q.asked.empty() || q.asked == "@") return fail("name a path or an abstract '@name'");
  q.abstract = q.asked.front() == '@';
  if (q.abstract) {
    q.judged = q.asked.substr(1);
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
  auto block = policy::compile_rules(*loaded, *variables);
  if (!block) return std::unexpected(block.error());
  auto rules = policy::RuleSet::open(*block);
  if (!rules) return std::unexpected(rules.error());
  policy::Layers layers;
  layers.add(*rules);

  Answer out;
  out.policy = rules->policy_name();
  out.judges = layers.judges_unix_sockets();
  out.audit_only = out.judges && layers.audit_only();
  out.decision = question.abstract ? layers.judge_abstract(question.operation, question.judged)
                                   : layers.judge_path(question.operation, question.judged);
  if (out.decision.rule >= 0) {
    policy::RuleView rule = rules->rule(out.decision.rule);
    out.rule = rule.name;
    out.guidance = rule.guidance;
  }
  return out;
}

std::string shown_name(const Question& q) {
  return (q.abstract ? "@" : "") + printable(q.judged);
}

void print_json(const Question& q, const Answer& a) {
  nlohmann::json out = {{"verdict", to_string(a.decision.verdict)},
                        {"recorded", to_string(a.decision.recorded)},
                        {"operation", to_string(q.operation)},
                        {"name", shown_name(q)},
                        {"abstract", q.abstract},
                        {"judged", a.judges},
                        {"policy", a.policy}};
  out["rule"] = a.rule.empty() ? nlohmann::json() : nlohmann::json(a.rule);
  out["guidance"] = a.guidance.empty() ? nlohmann::json() : nlohmann::json(a.guidance);
  std::cout << out.dump() << '\n';
}

void print_text(const Question& q, const Answer& a) {
  std::cout << painted(a.decision.permits() ? Colour::green : Colour::red, to_string(a.decision.verdict));
  if (a.audit_only && a.decision.recorded != a.decision.verdict) {
    std::cout << " (audit mode; if it were enforced: " << to_string(a.decision.recorded) << ')';
  }
  std::cout << ": " << to_string(q.operation) << ' ' << shown_name(q);
  if (!q.abstract && q.judged != q.asked) std::cout << " (given as " << printable(q.asked) << ')';
  std::cout << '\n';
  if (!a.judges) {
    std::cout << "rule: none; this policy does not judge unix sockets\n";
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
