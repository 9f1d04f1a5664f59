// SPDX-License-Identifier: Apache-2.0

// wrap-compile: a user's profile (YAML) to what `wrap` needs of it, with the user's own rights and nothing more. `wrap`
// runs it, so that neither `wrap` nor the service nor a supervisor ever parses a user's YAML, and a hostile profile
// meets nobody but its owner.
//
//   wrap-compile --rules-fd N --filter-fd N [--mode audit] [--] FILE
//   wrap-compile --check [--become UID:GID]         (check.h)
//
// Writes the compiled rules to one descriptor, the seccomp program for standalone use to the other (nothing if the
// profile is disabled), and one JSON object to stdout. An error is one line on stderr and exit status 1. It is on the
// way of every standalone start: what the profile does not mention is not looked up.

#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/compile/check.h"
#include "client/compile/user.h"
#include "plan/others_may_create.h"
#include "plan/plan.h"
#include "policy/notices.h"
#include "policy/rules.h"
#include "policyfile/lint.h"
#include "policyfile/load.h"
#include "wire/profile_description.h"

namespace wrapd {
namespace {

constexpr size_t kMaxNotices = 8;

struct Options {
  int rules_fd = -1;
  int filter_fd = -1;
  bool audit = false;
  std::string file;
};

std::unexpected<Error> usage(const std::string& problem) {
  return fail("wrap-compile: " + problem + "; usage: wrap-compile --rules-fd N --filter-fd N [--mode audit] FILE");
}

// A descriptor above the standard ones, or -1.
int descriptor(std::string_view text) {
  int fd = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fd);
  return error == std::errc{} && end == text.data() + text.size() && fd > STDERR_FILENO ? fd : -1;
}

Result<Options> parse(int argc, char** argv) {
  constexpr option kLong[] = {{"rules-fd", required_argument, nullptr, 'r'},
                              {"filter-fd", required_argument, nullptr, 'f'},
                              {"mode", required_argument, nullptr, 'm'},
                              {nullptr, 0, nullptr, 0}};
  Options options;
  opterr = 0;
  for (int choice = 0; (choice = getopt_long(argc, argv, "+", kLong, nullptr)) != -1;) {
    switch (choice) {
      case 'r':
        options.rules_fd = descriptor(optarg);
        break;
      case 'f':
        options.filter_fd = descriptor(optarg);
        break;
      case 'm':
        if (std::string_view(optarg) != "audit") return usage("--mode takes only 'audit'");
        options.audit = true;
        break;
      default:
        return usage("unknown option, or one without its value");
    }
  }
  if (options.rules_fd < 0 || options.filter_fd < 0) return usage("two descriptors above 2 are needed");
  if (optind + 1 != argc) return usage("one FILE is needed");
  options.file = argv[optind];
  return options;
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// The caller's own word about the caller: this program has no other rights than the caller. Left empty where there is
// none, then only a profile that uses it is an error.
policy::Variables variables_for(const policy::Policy& policy) {
  policy::Variables variables;
  const uid_t uid = getuid();
  variables.uid = std::to_string(uid);
  variables.home = from_environment("HOME");
  variables.xdg_runtime_dir = from_environment("XDG_RUNTIME_DIR");
  if (variables.xdg_runtime_dir.empty()) variables.xdg_runtime_dir = "/run/user/" + variables.uid;
  if (policy.uses(policy::Variable::cwd)) {
    if (char* directory = getcwd(nullptr, 0); directory != nullptr) {
      variables.cwd = directory;
      std::free(directory);
    }
  }
  if (policy.uses(policy::Variable::user) || (variables.home.empty() && policy.uses(policy::Variable::home))) {
    if (auto entry = compile::find_user(uid)) {
      variables.user = entry->name;
      if (variables.home.empty()) variables.home = entry->home;
    }
  }
  return variables;
}

std::vector<std::string> notices_of(const policy::Policy& policy) {
  std::vector<std::string> out = policy::notices(policy, "profile");
  for (auto& remark : policyfile::lint(policy)) {
    if (out.size() == kMaxNotices) break;
    out.push_back(remark.as_warning());
  }
  return out;
}

Result<> compile(const Options& options) {
  Result<policy::Policy> policy = policyfile::load_policy_file(options.file, false);
  if (!policy) return std::unexpected(policy.error());
  if (options.audit) policy->mode = policy::Mode::audit;
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Result<plan::Plan> plan = plan::compile_plan(*policy, variables_for(*policy), {}, [&](std::string_view directory) {
    return plan::others_may_create(root.get(), directory);
  });
  if (!plan) return std::unexpected(plan.error());
  if (plan->rules.size() > policy::kMaxProfileRulesBytes) {
    return fail(printable(options.file) + ": the rules compile to " + std::to_string(plan->rules.size()) +
                " bytes, at most " + std::to_string(policy::kMaxProfileRulesBytes) + " are taken; use fewer patterns");
  }
  if (Result<> written = write_all(options.rules_fd, plan->rules); !written) return written;
  if (Result<> written = write_all(options.filter_fd, std::as_bytes(std::span(plan->filter))); !written) return written;
  const wire::ProfileDescription description{.policy = policy->name,
                                             .mode = std::string(to_string(policy->effective_mode())),
                                             .confinement = plan->confinement,
                                             .notices = notices_of(*policy)};
  return write_all(STDOUT_FILENO, wire::encode(description) + "\n");
}

Result<> run(int argc, char** argv) {
  Result<Options> options = parse(argc, argv);
  if (!options) return std::unexpected(options.error());
  return compile(*options);
}

}  // namespace
}  // namespace wrapd

int main(int argc, char** argv) {
  try {
    if (argc > 1 && std::string_view(argv[1]) == "--check") return wrapd::compile::run_check(argc - 2, argv + 2);
    wrapd::Result<> done = wrapd::run(argc, argv);
    if (done) return 0;
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "wrap-compile: %s\n", problem.what());
  }
  return 1;
}
