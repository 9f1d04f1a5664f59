// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <sys/socket.h>

#include <cstdio>
#include <set>

#include "audit/sink.h"
#include "base/io.h"
#include "config.h"
#include "daemon/instance_lock.h"
#include "daemon/manager_notice.h"
#include "daemon/policy_view.h"
#include "daemon/stored_sessions.h"

namespace wrapd::daemon {
namespace {

constexpr std::chrono::seconds kLockPatience{3};
constexpr std::chrono::seconds kStatusInterval{1};
constexpr std::chrono::seconds kAccountPatience{2};

int complain(const Error& error, int status) {
  std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
  return status;
}

// Clients that wait are told why there is no service; a queue left full would have us started again at once.
void refuse_everybody(ConnectionCloser& closer, int control, const std::string& why) {
  constexpr int kMost = 4096;
  for (int i = 0; i < kMost && closer.ready(); ++i) {
    UniqueFd socket(::accept4(control, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    const auto hold = closer.take(socket.get());
    send_refusal(socket.get(), "internal", why);
    closer.close(std::move(socket), hold, 0);
  }
}

std::string counted(size_t number, const char* one, const char* many) {
  return std::to_string(number) + " " + (number == 1 ? one : many);
}

}  // namespace

Service::Service(EventLoop& loop, Options options)
    : loop_(loop),
      options_(std::move(options)),
      journal_(loop, audit::open_system_sink("/proc/self/fd")),
      store_(loop, WRAPD_FD_STORE_SIZE) {}

Service::~Service() = default;

// ---- start

Result<> Service::start() {
  auto runtime = RuntimeDirectory::open(options_.runtime_directory);
  if (!runtime) return std::unexpected(runtime.error());
  runtime_ = std::move(*runtime);
  // Before anything of another service's is touched.
  auto lock = lock_instance(runtime_.top.get(), kLockPatience);
  if (!lock) return std::unexpected(lock.error());
  lock_ = std::move(*lock);
  auto passed = take_passed_descriptors();
  if (!passed) return std::unexpected(passed.error());
  if (auto made = make_parts(passed->control.get()); !made) return made;
  restore(std::move(passed->others));
  if (auto taken = take_administration(passed->control.get()); !taken) return taken;
  refresh_staleness();
  if (auto started = start_broker(std::move(passed->control)); !started) return started;
  return watch_signals();
}

Result<> Service::make_parts(int control) {
  subordinate_ids_ = load_subordinate_ids(options_.catalogue.subordinate_ids);
  auto closer = ConnectionCloser::create(loop_, options_.keeper, control);
  if (!closer) return std::unexpected(closer.error());
  closer_ = std::move(*closer);
  auto users = UserDirectory::create(loop_);
  if (!users) return std::unexpected(users.error());
  users_ = std::move(*users);
  auto tester = PolicyTester::create(loop_, *users_);
  if (!tester) return std::unexpected(tester.error());
  tester_ = std::move(*tester);
  auto loader = Worker::create(loop_, 1, 1);
  if (!loader) return std::unexpected(loader.error());
  loader_ = std::move(*loader);
  checker_ = std::make_unique<PolicyChecker>(loop_, options_.compiler);
  sessions_ = std::make_unique<SessionTable>(loop_, journal_, store_, SessionTable::Deadlines{});
  sessions_->on_change([this] {
    note_activity();
    refresh_status();
  });
  return {};
}

// A broken configuration must not cost those their sessions who have them: then nobody opens any until it is mended.
Result<> Service::take_administration(int control) {
  auto loaded = load_administration(options_.catalogue);
  if (loaded) {
    administration_ = std::move(*loaded);
    return {};
  }
  announce_broken(journal_, options_.catalogue, loaded.error());
  administration_ = nothing_in_force();
  if (sessions_->size() > 0) {
    complain(loaded.error(), 0);
    reload_failed_ = true;
    return {};
  }
  refuse_everybody(*closer_, control, administration_.catalogue->problem);
  failure_status_ = kExitConfig;
  return std::unexpected(loaded.error());
}

void Service::restore(std::vector<PassedFd> stored) {
  auto sorted = sort_stored_sessions(std::move(stored));
  for (auto& entry : sorted.refused) {
    std::fprintf(stderr, "wrapd: what was stored as %s is no session of ours and is dropped: %s\n",
                 printable(entry.name, 256).c_str(), entry.why.c_str());
    store_.remove(entry.name);
  }
  for (auto& session : sorted.found) {
    const std::string id = session.facts.id;
    auto directory = SessionDirectory::adopt(runtime_, id);
    const uid_t uid = session.facts.uid;
    auto place = sessions_->places().take(subordinate_ids_->user_of(uid), subordinate_ids_->standing_of(uid));
    auto restored = sessions_->restore(std::move(session.facts), std::move(directory), std::move(session.process),
                                       std::move(session.end), std::move(place));
    if (restored) continue;
    std::fprintf(stderr, "wrapd: session %s goes on without the service: %s\n", id.c_str(),
                 restored.error().message.c_str());
  }
}

Result<> Service::start_broker(UniqueFd control) {
  auto broker = Broker::create({.loop = loop_,
                                .journal = journal_,
                                .closer = *closer_,
                                .users = *users_,
                                .sessions = *sessions_,
                                .store = store_,
                                .runtime = runtime_},
                               {.control = std::move(control),
                                .supervisor = options_.supervisor,
                                .supervisor_ids = administration_.supervisor_ids,
                                .catalogue = administration_.catalogue,
                                .subordinate_ids = subordinate_ids_,
                                .on_connection = [this] { note_activity(); }});
  if (!broker) return std::unexpected(broker.error());
  broker_ = std::move(*broker);
  return {};
}

Result<> Service::watch_signals() {
  for (size_t i = 0; i < std::size(kStopSignals); ++i) {
    auto source = loop_.on_signal(kStopSignals[i], [this] { exit(0, "Stopping; sessions go on"); });
    if (!source) return std::unexpected(source.error());
    stop_[i] = std::move(*source);
  }
  auto reload = loop_.on_signal(SIGHUP, [this] { start_reload("SIGHUP"); });
  if (!reload) return std::unexpected(reload.error());
  reload_ = std::move(*reload);
  return loop_.serve_watchdog();
}

// ---- life

int Service::serve() {
  announce_loaded(journal_, *administration_.catalogue);
  announce_rejected(journal_, *administration_.catalogue);
  told_status_ = status();
  notify_ready(told_status_);
  note_activity();
  if (options_.idle_exit.count() > 0) watch_idleness(options_.idle_exit);
  if (auto ran = loop_.run(); !ran) return complain(ran.error(), kExitFailure);
  return exit_status_;
}

void Service::exit(int status, const std::string& why) {
  exit_status_ = status;
  notify_stopping(why);
  loop_.stop();
}

std::string Service::status() const {
  std::set<uid_t> users;
  const auto all = sessions_->list();
  for (const auto& session : all) users.insert(session.uid);
  return "Serving " + counted(all.size(), "session", "sessions") + " of " + counted(users.size(), "user", "users") +
         ", " + counted(administration_.catalogue->policies.size(), "policy", "policies") +
         (reload_failed_ ? "; the last reload failed, what was in force stays in force" : "");
}

// The manager does not need to know it by the millisecond.
void Service::refresh_status() {
  if (status_timer_.active()) return;
  auto timer = loop_.after(kStatusInterval, [this] {
    status_timer_.reset();
    std::string now = status();
    if (now == told_status_ || reloading_) return;
    // A manager that does not keep up is told the next one.
    if (tell_manager("STATUS=" + now, {})) told_status_ = std::move(now);
  });
  if (timer) status_timer_ = std::move(*timer);
}

bool Service::idle() const {
  return sessions_->size() == 0 && broker_->idle() && checker_->idle() && tester_->idle() && journal_.idle() &&
         !reloading_ && !(busy_elsewhere_ && busy_elsewhere_());
}

void Service::watch_idleness(std::chrono::milliseconds delay) {
  auto timer = loop_.after(delay, [this] { on_idle_timer(); });
  if (timer) {
    idle_timer_ = std::move(*timer);
  } else {
    complain(timer.error(), 0);  // then it stays
  }
}

void Service::on_idle_timer() {
  const std::chrono::milliseconds limit = options_.idle_exit;
  if (!idle()) return watch_idleness(limit);
  const auto quiet = std::chrono::steady_clock::now() - last_activity_;
  if (quiet >= limit) return retire();
  watch_idleness(std::chrono::ceil<std::chrono::milliseconds>(limit - quiet));
}

// A client that comes from here on waits in the control socket's queue, or for the name on the bus, and has the manager
// start the next one.
void Service::retire() {
  exit_status_ = kExitIdle;
  notify_stopping("Stopping; the service is idle");
  broker_->stop_accepting();
  if (!retire_) return loop_.stop();
  retire_([this] { loop_.stop(); });
}

// ---- what can be asked

void Service::observe(ServiceObserver* observer) {
  sessions_->observe(observer);
}

void Service::open_session(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd,
                           std::function<void(ApiResult<OpenedSession>)> done) {
  note_activity();
  broker_->open(request, caller, std::move(pidfd), std::move(done));
}

std::vector<SessionInfo> Service::sessions() const {
  return sessions_->list();
}

std::optional<SessionInfo> Service::session(std::string_view id) const {
  return sessions_->find(id);
}

ApiResult<> Service::terminate(std::string_view id, std::string_view by) {
  return sessions_->terminate(id, by);
}

std::vector<PolicyInfo> Service::policies(const PeerCredentials& caller) const {
  return visible_policies(*administration_.catalogue, caller, users_->has_entry(caller.uid).value_or(true));
}

ApiResult<PolicyText> Service::describe_policy(const PeerCredentials& caller, std::string_view name) const {
  return visible_policy_text(*administration_.catalogue, caller, name, users_->has_entry(caller.uid).value_or(true));
}

void Service::test_policy(const PeerCredentials& caller, std::string_view name, std::string_view operation,
                          std::string_view target, std::function<void(ApiResult<PolicyVerdict>)> done) {
  note_activity();
  auto policy = usable_policy(*administration_.catalogue, caller, name, users_->has_entry(caller.uid).value_or(true));
  if (!policy) return done(std::unexpected(policy.error()));
  tester_->test(caller.uid, subordinate_ids_->user_of(caller.uid), std::move(*policy), operation, target,
                std::move(done));
}

void Service::check_policy(const PeerCredentials& caller, std::string_view text,
                           std::function<void(ApiResult<std::vector<std::string>>)> done) {
  note_activity();
  checker_->check(caller, subordinate_ids_->user_of(caller.uid), text, std::move(done));
}

void Service::note_refusal(const PeerCredentials& caller, std::string_view operation, std::string_view session,
                           std::string reason) {
  journal_.reject(caller.uid, caller.pid, std::move(reason), operation, session);
}

std::vector<QuestionInfo> Service::questions() const {
  return sessions_->questions().list();
}

std::optional<QuestionInfo> Service::question(std::string_view id) const {
  return sessions_->questions().find(id);
}

ApiResult<> Service::answer_question(std::string_view id, bool allow, std::string_view by) {
  note_activity();
  return sessions_->answer(id, allow, by);
}

void Service::has_account(uid_t uid, std::function<void(bool)> done) {
  struct AccountLookup {
    std::function<void(bool)> done;
    EventSource patience;
    void answer(bool known) {
      patience.reset();
      if (auto asked = std::exchange(done, {})) asked(known);
    }
  };
  auto lookup = std::make_shared<AccountLookup>();
  lookup->done = std::move(done);
  users_->find(uid, [lookup](const Result<UserEntry>& entry) { lookup->answer(entry && !entry->name.empty()); });
  if (!lookup->done) return;
  auto patience = loop_.after(kAccountPatience, [weak = std::weak_ptr(lookup)] {
    if (auto waiting = weak.lock()) waiting->answer(false);
  });
  if (!patience) return lookup->answer(false);
  lookup->patience = std::move(*patience);
}

std::vector<std::string> Service::features() const {
  std::vector<std::string> out = {"unix-socket-rules", "approvals"};
  if (store_.present()) out.emplace_back("fd-store");
  return out;
}

}  // namespace wrapd::daemon
