// SPDX-License-Identifier: Apache-2.0

// wrap: runs a command under the policy of this machine. An unprivileged program that serves its own user; it never
// reads a policy and never decides. It asks for a session, starts the command confined, gives the supervisor its
// listener, and is the command as far as shell and terminal can tell.

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <exception>

#include "client/wrap/launch.h"
#include "client/wrap/options.h"
#include "client/wrap/report.h"
#include "client/wrap/run.h"
#include "client/wrap/signals.h"
#include "config.h"

namespace wrapd::client {
namespace {

Result<int> run(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) return std::unexpected(options.error());
  if (options->action == Options::Action::help) {
    print(STDOUT_FILENO, help_text());
    return 0;
  }
  if (options->action == Options::Action::version) {
    print(STDOUT_FILENO, "wrap " WRAPD_VERSION "\n");
    return 0;
  }
  std::vector<int> wanted = options->keep_fds;
  if (options->status_fd >= 0) wanted.push_back(options->status_fd);
  if (options->audit_fd >= 0) wanted.push_back(options->audit_fd);
  if (auto guarded = guard_descriptors(wanted); !guarded) return std::unexpected(guarded.error());

  InheritedSignals signals;
  signals.change(SIGCHLD, SIG_DFL);  // ignored, it would take CMD's status from us
  signals.change(SIGPIPE, SIG_IGN);
  signals.change(SIGXFSZ, SIG_IGN);
  // The command runs as the same user: it must not read or trace us, who hold its supervisor's channel, and what it
  // leaves behind must stay below us while we may have to end it.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("cannot make this process unreadable");
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return fail_errno("cannot become a subreaper");

  auto status = options->standalone ? run_standalone(*options, signals) : run_brokered(*options, signals);
  if (options->action == Options::Action::run) StatusReport(options->status_fd).exited(status.value_or(kExitFailed));
  return status;
}

}  // namespace
}  // namespace wrapd::client

int main(int argc, char** argv) {
  try {
    auto status = wrapd::client::run(argc, argv);
    if (status) return *status;
    wrapd::client::print_error(status.error().message);
  } catch (const std::exception& error) {
    wrapd::client::print_error(std::string("out of memory or a bug: ") + error.what());
  }
  return wrapd::client::kExitFailed;
}
