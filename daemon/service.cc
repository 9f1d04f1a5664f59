// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <signal.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <cstdio>

#include "audit/event.h"
#include "audit/sink.h"
#include "config.h"
#include "daemon/activation.h"

namespace wrapd::daemon {
namespace {

int complain(const Error& error, int status) {
  std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
  return status;
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

void notify(const std::string& state) {
  if (int rc = sd_notify(0, state.c_str()); rc < 0) {
    complain(fail_errno("cannot notify the service manager", -rc).error(), 0);
  }
}

std::unexpected<ApiError> not_offered() {
  return std::unexpected(ApiError{.code = "Internal", .message = "not offered yet"});
}

}  // namespace

Service::Service(EventLoop& loop, Options options)
    : loop_(loop), options_(std::move(options)), journal_(loop, audit::open_system_sink("/proc/self/fd")) {}

Service::~Service() = default;

Result<> Service::start() {
  auto control = take_control_socket();
  if (!control) return std::unexpected(control.error());
  auto catalogue = load_catalogue(options_.catalogue);
  auto ids = find_supervisor_ids(WRAPD_SUPERVISOR_USER);
  if (!catalogue || !ids) {
    const Error& error = !catalogue ? catalogue.error() : ids.error();
    reject_configuration(error);
    refuse_everybody(control->get());
    failure_status_ = kExitConfig;
    return std::unexpected(error);
  }
  catalogue_ = *catalogue;
  return start_parts(std::move(*control), *ids, *catalogue);
}

int Service::serve() {
  announce(journal_, *catalogue_);
  announce_rejected(journal_, *catalogue_);
  notify("READY=1\n" + status_of(*catalogue_));
  if (auto ran = loop_.run(); !ran) return complain(ran.error(), kExitFailure);
  return 0;
}

Result<> Service::start_parts(UniqueFd control, SupervisorIds ids, std::shared_ptr<const Catalogue> catalogue) {
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

void Service::stop() {
  notify("STOPPING=1\nSTATUS=Stopping; sessions go on");
  loop_.stop();
}

// On a thread: user names and files may be far away, and nobody waits for it.
void Service::reload() {
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
void Service::on_loaded(const Result<std::shared_ptr<const Catalogue>>& loaded) {
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
    catalogue_ = *loaded;
    announce(journal_, **loaded);
    status = status_of(**loaded);
  } else {
    std::fprintf(stderr, "wrapd: nothing was reloaded; what was in force stays in force\n");
    status = "STATUS=The last reload failed; what was in force stays in force";
  }
  notify("READY=1\n" + status);
  if (std::exchange(reload_again_, false)) reload();
}

void Service::reject_configuration(const Error& error) {
  auto event = audit::make_event(audit::Kind::policy_rejected);
  event.path = options_.catalogue.config;
  event.reason = error.message;
  journal_.record(std::move(event));
}

void Service::observe(ServiceObserver*) {}

void Service::open_session(UniqueFd, wire::OpenRequest, UniqueFd, const PeerCredentials&,
                           std::function<void(ApiResult<std::string>)> done) {
  done(not_offered());
}

std::vector<SessionInfo> Service::sessions() const {
  return {};
}

std::optional<SessionInfo> Service::session(std::string_view) const {
  return std::nullopt;
}

ApiResult<> Service::terminate(std::string_view, std::string_view) {
  return not_offered();
}

std::vector<PolicyInfo> Service::policies(const PeerCredentials&) const {
  return {};
}

ApiResult<PolicyText> Service::describe_policy(const PeerCredentials&, std::string_view) const {
  return not_offered();
}

void Service::test_policy(const PeerCredentials&, std::string_view, std::string_view, std::string_view,
                          std::function<void(ApiResult<PolicyVerdict>)> done) {
  done(not_offered());
}

void Service::check_policy(const PeerCredentials&, UniqueFd,
                           std::function<void(ApiResult<std::vector<std::string>>)> done) {
  done(not_offered());
}

void Service::reload(std::function<void(ApiResult<>)> done) {
  done(not_offered());
}

std::vector<QuestionInfo> Service::questions() const {
  return {};
}

std::optional<QuestionInfo> Service::question(std::string_view) const {
  return std::nullopt;
}

ApiResult<> Service::answer_question(std::string_view, bool, std::string_view) {
  return not_offered();
}

std::vector<std::string> Service::features() const {
  return {};
}

}  // namespace wrapd::daemon
