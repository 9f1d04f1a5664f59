// SPDX-License-Identifier: Apache-2.0

// wrapd: reads what the administrator wrote, takes the control socket from the service manager, and serves until
// SIGTERM. Sessions do not end with it.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "audit/event.h"
#include "audit/sink.h"
#include "base/io.h"
#include "config.h"
#include "daemon/activation.h"
#include "daemon/broker.h"
#include "daemon/catalogue.h"
#include "daemon/event_loop.h"
#include "daemon/journal.h"
#include "daemon/options.h"
#include "daemon/worker.h"

namespace wrapd::daemon {
namespace {

constexpr int kExitUsage = 64;   // EX_USAGE, sysexits.h
constexpr int kExitConfig = 78;  // EX_CONFIG: the unit does not start us again
constexpr int kExitFailure = 1;

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
  ::umask(0077);
  if (::chdir("/") < 0) return fail_errno("cannot change to /");
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot read the limit of descriptors");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot raise the limit of descriptors");
  return tidy_descriptors();
}

void announce(Journal& journal, const Catalogue& catalogue) {
  for (const auto& [name, entry] : catalogue.policies) {
    auto event = audit::make_event(audit::Kind::policy_loaded);
    event.policy = name;
    event.path = entry->policy.file;
    event.mode = policy::to_string(entry->policy.effective_mode());
    journal.record(std::move(event));
  }
}

void announce_rejected(Journal& journal, const Catalogue& catalogue) {
  for (const auto& rejected : catalogue.rejected) {
    std::fprintf(stderr, "wrapd: %s\n", rejected.why.c_str());
    auto event = audit::make_event(audit::Kind::policy_rejected);
    event.policy = rejected.name;
    event.path = rejected.file;
    event.reason = rejected.why;
    journal.record(std::move(event));
  }
}

std::string status_of(const Catalogue& catalogue) {
  return "STATUS=Serving " + std::to_string(catalogue.policies.size()) + " policies" +
         (catalogue.rejected.empty() ? "" : ", " + std::to_string(catalogue.rejected.size()) + " rejected");
}

// Whoever waits is told why there is no service; a queue left full would have us started again at once.
void refuse_everybody(int control) {
  constexpr int kMost = 4096;
  for (int i = 0; i < kMost; ++i) {
    UniqueFd socket(::accept4(control, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    bool drained =
        send_refusal(socket.get(), "internal",
                     "the service's configuration is broken; the administrator finds the reason in its journal");
    // The end of this process closes it, and that end waits for nobody.
    if (!drained) static_cast<void>(socket.release());
  }
}

class Service {
 public:
  Service(EventLoop& loop, Options options)
      : loop_(loop), options_(std::move(options)), journal_(loop, audit::open_system_sink("/proc/self/fd")) {}

  // Exit status.
  int run() {
    auto control = take_control_socket();
    if (!control) return complain(control.error(), kExitFailure);
    auto catalogue = load_catalogue(options_.catalogue);
    auto ids = find_supervisor_ids(WRAPD_SUPERVISOR_USER);
    if (!catalogue || !ids) {
      const Error& error = !catalogue ? catalogue.error() : ids.error();
      reject_configuration(error);
      refuse_everybody(control->get());
      return complain(error, kExitConfig);
    }
    if (auto started = start(std::move(*control), *ids, *catalogue); !started)
      return complain(started.error(), kExitFailure);
    announce(journal_, **catalogue);
    announce_rejected(journal_, **catalogue);
    notify("READY=1\n" + status_of(**catalogue));
    if (auto ran = loop_.run(); !ran) return complain(ran.error(), kExitFailure);
    return 0;
  }

 private:
  Result<> start(UniqueFd control, SupervisorIds ids, std::shared_ptr<const Catalogue> catalogue) {
    auto runtime = RuntimeDirectory::open(options_.runtime_directory);
    if (!runtime) return std::unexpected(runtime.error());
    auto worker = Worker::create(loop_, 1, 1);
    if (!worker) return std::unexpected(worker.error());
    loader_ = std::move(*worker);
    auto broker = Broker::create(loop_, journal_,
                                 {.control = std::move(control),
                                  .runtime = std::move(*runtime),
                                  .supervisor = options_.supervisor,
                                  .supervisor_ids = ids,
                                  .catalogue = std::move(catalogue)});
    if (!broker) return std::unexpected(broker.error());
    broker_ = std::move(*broker);
    for (size_t i = 0; i < std::size(kStopSignals); ++i) {
      auto source = loop_.on_signal(kStopSignals[i], [this] { stop(); });
      if (!source) return std::unexpected(source.error());
      stop_[i] = std::move(*source);
    }
    auto reload = loop_.on_signal(SIGHUP, [this] { this->reload(); });
    if (!reload) return std::unexpected(reload.error());
    reload_ = std::move(*reload);
    return loop_.serve_watchdog();
  }

  void stop() {
    notify("STOPPING=1\nSTATUS=Stopping; sessions go on");
    loop_.stop();
  }

  // On a thread: user names and files may be far away, and nobody waits for it.
  void reload() {
    if (std::exchange(reloading_, true)) {
      reload_again_ = true;
      return;
    }
    notify("RELOADING=1\nSTATUS=Reading policies");
    auto submitted = loader_->submit([this, paths = options_.catalogue]() -> Worker::Completion {
      return [this, loaded = load_catalogue(paths)] { on_loaded(loaded); };
    });
    if (!submitted) on_loaded(std::unexpected(submitted.error()));
  }

  // Whole or not at all: half a reload would be a mixture that nobody wrote.
  void on_loaded(const Result<std::shared_ptr<const Catalogue>>& loaded) {
    reloading_ = false;
    std::string status;
    if (!loaded) {
      complain(loaded.error(), 0);
      reject_configuration(loaded.error());
    } else {
      announce_rejected(journal_, **loaded);
    }
    if (loaded && (*loaded)->rejected.empty()) {
      broker_->use(*loaded);
      announce(journal_, **loaded);
      status = status_of(**loaded);
    } else {
      std::fprintf(stderr, "wrapd: nothing was reloaded; what was in force stays in force\n");
      status = "STATUS=The last reload failed; what was in force stays in force";
    }
    notify("READY=1\n" + status);
    if (std::exchange(reload_again_, false)) reload();
  }

  void reject_configuration(const Error& error) {
    auto event = audit::make_event(audit::Kind::policy_rejected);
    event.path = options_.catalogue.config;
    event.reason = error.message;
    journal_.record(std::move(event));
  }

  static void notify(const std::string& state) {
    if (int rc = sd_notify(0, state.c_str()); rc < 0) {
      complain(fail_errno("cannot notify the service manager", -rc).error(), 0);
    }
  }

  static constexpr int kStopSignals[] = {SIGTERM, SIGINT};
  EventLoop& loop_;
  Options options_;
  Journal journal_;
  std::unique_ptr<Broker> broker_;
  std::unique_ptr<Worker> loader_;
  EventSource stop_[std::size(kStopSignals)];
  EventSource reload_;
  bool reloading_ = false;
  bool reload_again_ = false;
};

int run(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) return complain(options.error(), kExitUsage);
  if (options->help) return std::fputs(usage().c_str(), stdout) < 0 ? kExitFailure : 0;
  if (options->version) return std::puts("wrapd " WRAPD_VERSION) < 0 ? kExitFailure : 0;
  if (::geteuid() != 0) return complain({.message = "must be started as root"}, kExitFailure);
  if (auto prepared = prepare_process(); !prepared) return complain(prepared.error(), kExitFailure);
  auto loop = EventLoop::create();
  if (!loop) return complain(loop.error(), kExitFailure);
  return Service(*loop, std::move(*options)).run();
}

}  // namespace
}  // namespace wrapd::daemon

int main(int argc, char** argv) {
  return wrapd::daemon::run(argc, argv);
}
