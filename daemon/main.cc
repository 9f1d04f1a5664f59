// SPDX-License-Identifier: Apache-2.0

// wrapd: prepares the process and lets the service run in it. Who else speaks for callers (daemon/bus) is started here,
// between Service::start() and Service::serve().

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "config.h"
#include "daemon/activation.h"
#include "daemon/bus/bus_api.h"
#include "daemon/event_loop.h"
#include "daemon/options.h"
#include "daemon/service.h"
#include "kernel/credentials.h"

namespace wrapd::daemon {
namespace {

constexpr int kExitUsage = 64;  // EX_USAGE, sysexits.h

int complain(const Error& error, int status) {
  std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
  return status;
}

// Those that the loop takes; before any thread, so that every thread inherits it.
Result<> prepare_process() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) < 0) return fail_errno("cannot block signals");
  // An inherited "ignore" of SIGCHLD would reap supervisors behind our back.
  if (::signal(SIGCHLD, SIG_DFL) == SIG_ERR || ::signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
    return fail_errno("cannot set up signals");
  }
  // What supervisors of root's sessions act with (kernel/credentials.h) is permitted, for them to have after their
  // exec; the service itself works without it.
  auto capabilities = kernel::read_capabilities();
  if (!capabilities) return std::unexpected(capabilities.error());
  capabilities->effective &= ~kernel::kActingCapabilities;
  if (int rc = kernel::write_capabilities(*capabilities); rc < 0) return fail_errno("cannot drop capabilities", -rc);
  ::umask(0077);
  if (::chdir("/") < 0) return fail_errno("cannot change to /");
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot read the limit of descriptors");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot raise the limit of descriptors");
  return tidy_descriptors();
}

int run(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) return complain(options.error(), kExitUsage);
  if (options->help) return std::fputs(usage().c_str(), stdout) < 0 ? EXIT_FAILURE : 0;
  if (options->version) return std::puts("wrapd " WRAPD_VERSION) < 0 ? EXIT_FAILURE : 0;
  if (::geteuid() != 0) return complain({.message = "must be started as root"}, EXIT_FAILURE);
  if (auto prepared = prepare_process(); !prepared) return complain(prepared.error(), EXIT_FAILURE);
  auto loop = EventLoop::create();
  if (!loop) return complain(loop.error(), EXIT_FAILURE);
  Service service(*loop, std::move(*options));
  if (auto started = service.start(); !started) return complain(started.error(), service.failure_status());
  auto api = bus::BusApi::create(*loop, service, {.on_call = [&service] { service.note_activity(); }});
  if (!api) return complain(api.error(), EXIT_FAILURE);
  service.veto_idle_exit([&api] { return (*api)->busy(); });
  service.before_idle_exit([&api](std::function<void()> done) { (*api)->retire(std::move(done)); });
  return service.serve();
}

}  // namespace
}  // namespace wrapd::daemon

int main(int argc, char** argv) {
  return wrapd::daemon::run(argc, argv);
}
