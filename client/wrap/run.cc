// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/io.h"
#include "client/wrap/event_log.h"
#include "client/wrap/report.h"
#include "client/wrap/watch.h"
#include "wire/session_end.h"

namespace wrapd::client {
namespace {

constexpr std::chrono::milliseconds kSummaryTimeout{2000};

const char* yes_no(bool value) {
  return value ? "yes" : "no";
}

}  // namespace

std::string shown_command(const Options& options) {
  std::string text;
  for (const char* word : options.command) {
    if (!text.empty()) text += ' ';
    text += word;
    if (text.size() > wire::kMaxCommand) break;
  }
  text.resize(std::min(text.size(), wire::kMaxCommand));
  return text;
}

Result<std::string> working_directory() {
  std::unique_ptr<char, decltype(&std::free)> cwd(::getcwd(nullptr, 0), &std::free);
  if (!cwd || cwd.get()[0] != '/') {
    return fail_errno("cannot tell the working directory; change to one that exists", cwd ? ENOENT : errno);
  }
  return std::string(cwd.get());
}

std::string explain(const wire::SessionReply& reply, const CompiledProfile* profile, const std::string& profile_file,
                    size_t filter_instructions) {
  std::string text =
      "policy:          " + printable(reply.policy, 256) + "\nmode:            " + printable(reply.mode, 64) + "\n";
  if (profile != nullptr) {
    text += "profile:         " + printable(profile->policy, 256) + " (" + printable(profile_file, 256) + "), mode " +
            printable(profile->mode, 64) + "\n";
    text += "profile traps:  ";
    for (std::string_view word : profile->confinement.traps.words()) text += " " + std::string(word);
    text += profile->confinement.traps.empty() ? " none\n" : "\n";
  }
  text += reply.confinement.filtered
              ? "seccomp filter:  " + std::to_string(filter_instructions) + " instructions, with a listener\n"
              : "seccomp filter:  none\n";
  text += std::string("landlock:        signals stay inside: ") + yes_no(reply.confinement.scopes.signal) +
          "; abstract sockets stay inside: " + yes_no(reply.confinement.scopes.abstract_socket) + "\n";
  text += std::string("on unsupported:  ") + (reply.confinement.monitor_unsupported ? "monitor" : "deny") + "\n";
  for (const std::string& notice : reply.notices) text += "notice:          " + printable(notice) + "\n";
  return text;
}

void print_notices(const Options& options, const std::vector<std::string>& notices) {
  if (options.quiet) return;
  for (const std::string& notice : notices) print_error(printable(notice));
}

Result<int> see_through(const Options& options, Watch& watch, const WatchSpec& spec, const ExecPlan& exec,
                        const Launch* launch, const SummaryContext& context) {
  auto status = watch.run(spec);
  if (!status) return status;
  // Also where CMD was not executed: the events of its session are still on their way.
  auto summary = watch.finish(kSummaryTimeout);
  if (watch.terminated())
    print_error(wire::to_user({wire::EndReason::terminated, printable(*watch.terminated(), 512)}));
  if (spec.log != nullptr) {
    for (const auto& problem : spec.log->problems()) print_error(problem);
  }
  if (launch != nullptr) {
    if (auto failure = launch->failure()) return fail(*failure);
  }
  if (int error = launch != nullptr ? launch->exec_error() : watch.exec_error(); error != 0) {
    ExecFailure failure = describe_exec_failure(exec, error);
    print_error(failure.message);
    return failure.status;
  }
  if (options.quiet) return status;
  if (summary) {
    print(STDERR_FILENO, summary_text(*summary, context));
  } else {
    print_error("the supervisor gave no summary; the audit log has what was denied");
  }
  return status;
}

}  // namespace wrapd::client
