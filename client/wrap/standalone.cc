// SPDX-License-Identifier: Apache-2.0

// `wrap --standalone`: no service. wrap forks the supervisor before anything else, and the supervisor forks CMD: an
// ancestor of CMD may read it also where yama lets nobody else. wrap itself stays what the shell waits for. The two
// share the control channel of the protocol, and a second one on which the supervisor, whose child CMD is, reports what
// becomes of it:
//
//   shell ── wrap ══ control, reports ══ supervisor ── CMD ── ...
//
// wrap ends with CMD; the supervisor ends with the last task that is filtered.

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "audit/sink.h"
#include "base/io.h"
#include "client/wrap/confine/filter.h"
#include "client/wrap/confine/landlock.h"
#include "client/wrap/event_log.h"
#include "client/wrap/launch.h"
#include "client/wrap/report.h"
#include "client/wrap/run.h"
#include "client/wrap/tree.h"
#include "policy/rules.h"
#include "supervisor/session/session.h"
#include "wire/packet.h"

namespace wrapd::client {
namespace {

constexpr int kStartTimeout = 20000;  // milliseconds
constexpr size_t kMaxStart = 4096;
// First message on the reports channel: this word with CMD's process number, and its pidfd; or else the reason why
// there is no CMD.
constexpr std::string_view kStarted = "started ";

// What there is to tell of the audit log, from the supervisor to wrap; in memory that both share.
struct LogLosses {
  std::atomic<uint64_t> count{0};
  std::atomic<int> error{0};
  std::atomic<bool> changed{false};  // by somebody else
};

// The audit log is the supervisor's, not wrap's: it also gets what is decided after wrap has ended.
class LogSink final : public audit::Sink {
 public:
  LogSink(UniqueFd fd, LogLosses* losses) : watch_(fd.get()), lines_(std::move(fd)), losses_(losses) {}
  Result<> write(const audit::Event& event) override {
    look();
    auto written = lines_.write(event);
    watch_.wrote();
    if (written || written.error().code == EAGAIN) return written;
    losses_->error = written.error().code;
    ++losses_->count;
    return {};
  }
  Result<> flush() override {
    look();
    auto flushed = lines_.flush();
    watch_.wrote();
    return flushed;
  }

 private:
  void look() {
    watch_.look();
    losses_->changed = watch_.changed();
  }
  LogWatch watch_;
  audit::JsonLinesSink lines_;
  LogLosses* losses_;
};

struct Channel {
  UniqueFd wrap;
  UniqueFd supervisor;
};

Result<Channel> make_channel() {
  auto pair = wire::make_packet_pair(wire::OurEnd::waits);
  if (!pair) return std::unexpected(pair.error());
  return Channel{std::move(pair->ours), std::move(pair->theirs)};
}

// Everything is made before the fork; the supervisor's half is moved into it.
struct Standalone {
  const Options& options;
  InheritedSignals& signals;
  const CompiledProfile& profile;
  std::optional<ExecPlan> exec;
  SealedMapping rules;
  FilterProgram filter;  // none if the profile is disabled
  Domain domain;
  Channel control;
  Channel reports;
  UniqueFd log;
  LogLosses* losses = nullptr;
};

// The supervisor's side of CMD's life: reaps it, and reports.
class Reporter {
 public:
  Reporter(int reports, const Launch& launch) : reports_(reports), launch_(launch) {}

  // SIGCHLD must be blocked already.
  [[nodiscard]] Result<> open() {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    signals_.reset(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return fail_errno("cannot create a signalfd");
    ready_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!ready_) return fail_errno("cannot create an epoll descriptor");
    for (int fd : {signals_.get(), reports_}) {
      epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
      if (::epoll_ctl(ready_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return fail_errno("cannot watch a descriptor");
    }
    return {};
  }
  // Readable when step() has something to do.
  [[nodiscard]] int fd() const { return ready_.get(); }
  [[nodiscard]] int signals_fd() const { return signals_.get(); }

  void step() {
    epoll_event events[2];
    int n = ::epoll_wait(ready_.get(), events, 2, 0);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == reports_) wrap_has_ended();
    }
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    }
    reap();
  }

 private:
  // wrap never writes here: this is its end. If it goes before CMD it was killed, and CMD was meant.
  void wrap_has_ended() {
    ::epoll_ctl(ready_.get(), EPOLL_CTL_DEL, reports_, nullptr);
    if (!ended_) ::syscall(SYS_pidfd_send_signal, launch_.pidfd(), SIGKILL, nullptr, 0);
  }

  void reap() {
    while (const auto change = next_child_change()) {
      if (change->si_pid != launch_.pid() || ended_) continue;
      ended_ = change->si_code == CLD_EXITED || change->si_code == CLD_KILLED || change->si_code == CLD_DUMPED;
      if (ended_ && launch_.exec_error() != 0) send({ChildReport::kExecFailed, launch_.exec_error()});
      send({change->si_code, change->si_status});
    }
  }

  // There are at most a few unread; where wrap takes none any more it has ended or is about to be killed.
  void send(const ChildReport& report) const { ::send(reports_, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT); }

  int reports_;
  const Launch& launch_;
  UniqueFd signals_;
  UniqueFd ready_;
  bool ended_ = false;
};

// CMD's process shares our descriptors until it execs. From here on we have our own, and of those only the ones we work
// with: a program that waits for the end of a pipe of the user's must not wait for us.
Result<> keep_only(std::vector<int> kept) {
  if (::unshare(CLONE_FILES) < 0) return fail_errno("cannot separate the supervisor's descriptors");
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return fail_errno("cannot open /dev/null");
  for (int fd = 0; fd <= 2; ++fd) {
    if (::dup2(null.get(), fd) < 0) return fail_errno("cannot replace a standard descriptor");
  }
  null.reset();
  std::ranges::sort(kept);
  unsigned next = 3;
  for (int fd : kept) {
    if (fd < 0) continue;
    auto number = static_cast<unsigned>(fd);
    if (number > next && ::syscall(SYS_close_range, next, number - 1, 0) < 0)
      return fail_errno("cannot close descriptors");
    next = number + 1;
  }
  if (::syscall(SYS_close_range, next, ~0U, 0) < 0) return fail_errno("cannot close descriptors");
  return {};
}

// How many calls may wait at once, so that with the user's own limit of descriptors some are left for others.
Result<size_t> waiting_calls() {
  constexpr size_t kMost = 1024, kEach = 8, kOthers = 64;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot read the limit of descriptors");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot raise the limit of descriptors");
  const size_t room = std::min<rlim_t>(files.rlim_cur, kOthers + kMost * kEach);
  return room <= kOthers ? 1 : std::max<size_t>((room - kOthers) / kEach, 1);
}

Result<> supervise(Standalone& all) {
  // What a terminal or a job's shell sends to the process group is CMD's business; wrap passes on what is meant for it.
  for (int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGALRM}) {
    all.signals.change(signal, SIG_IGN);
  }
  // Nothing else is blocked, whatever wrap blocks: threads are interrupted by a signal.
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &child, nullptr);
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return fail_errno("cannot become a subreaper");
  ::mallopt(M_ARENA_MAX, 1);  // the threads that wait need no heap each

  auto launch = Launch::start({.exec = &*all.exec,
                               .signals = &all.signals,
                               .confined = {all.domain.ruleset.get(), all.filter.instructions()},
                               .keep_fds = all.options.keep_fds});
  if (!launch) return std::unexpected(launch.error());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("cannot set no_new_privs");
  Reporter reporter(all.reports.supervisor.get(), *launch);
  if (auto opened = reporter.open(); !opened) return opened;

  supervisor::SessionOptions session{.uid = ::getuid(),
                                     .client_pid = ::getppid(),
                                     .command = shown_command(all.options),
                                     .policy = all.profile.policy,
                                     .mode = all.profile.mode,
                                     .remarks = all.profile.notices.empty() ? "" : all.profile.notices.front(),
                                     .listener = launch->take_listener(),
                                     .leader = UniqueFd(::fcntl(launch->pidfd(), F_DUPFD_CLOEXEC, 3)),
                                     .control = std::move(all.control.supervisor),
                                     .proc = UniqueFd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)),
                                     .root = UniqueFd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC))};
  if (!session.leader || !session.proc || !session.root)
    return fail_errno("cannot open what the supervisor works with");
  std::vector<int> kept{session.listener.get(), session.leader.get(),  session.control.get(),
                        session.proc.get(),     session.root.get(),    launch->pidfd(),
                        reporter.fd(),          reporter.signals_fd(), all.reports.supervisor.get(),
                        all.log.get()};
  if (auto own = keep_only(std::move(kept)); !own) return own;
  if (::chdir("/proc/self/fd") < 0) return fail_errno("cannot enter /proc/self/fd; is /proc mounted?");
  auto waiting = waiting_calls();
  if (!waiting) return std::unexpected(waiting.error());
  session.waiting_calls = *waiting;
  if (all.log) session.sink = std::make_unique<LogSink>(std::move(all.log), all.losses);
  session.rules.push_back(std::move(all.rules));
  session.watch_fd = reporter.fd();
  session.on_watch = [&reporter] { reporter.step(); };
  session.acknowledge = [&]() -> Result<> {
    int pidfd = launch->pidfd();
    auto sent = wire::send_packet(all.reports.supervisor.get(), std::string(kStarted) + std::to_string(launch->pid()),
                                  {&pidfd, 1}, true);
    if (sent) launch->go();
    return sent;
  };
  return supervisor::run_session(std::move(session));
}

// The forked process. It never returns into what the caller holds.
[[noreturn]] void supervisor_main(Standalone& all) {
  // The descriptor numbers of wrap's ends are closed with the rest; until then they must not hold the channels open.
  all.control.wrap.reset();
  all.reports.wrap.reset();
  int status = kExitFailed;
  try {
    if (auto done = supervise(all); done) {
      status = 0;
    } else {
      // After "started" nobody reads this: wrap then sees the control channel close.
      static_cast<void>(
          wire::send_packet(all.reports.supervisor.get(), printable(done.error().message, kMaxStart / 2), {}, true));
    }
  } catch (const std::exception&) {
    status = kExitFailed;  // the channels close, and wrap ends the tree
  }
  ::_exit(status);  // threads that are stuck in the kernel must not hold up the end
}

struct Started {
  pid_t pid = -1;
  UniqueFd pidfd;
};

Result<Started> await_start(int reports) {
  pollfd polled{reports, POLLIN, 0};
  int n = 0;
  do {
    n = ::poll(&polled, 1, kStartTimeout);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return fail("the supervisor did not start in time; try again");
  auto packet = wire::receive_packet(reports, kMaxStart, 1);
  if (!packet) return fail("cannot hear from the supervisor: " + packet.error().message);
  if (packet->eof()) return fail("the supervisor ended before it could start the command");
  if (!packet->bytes.starts_with(kStarted) || packet->fds.size() != 1) return fail(printable(packet->bytes));
  pid_t pid = 0;
  const char* end = packet->bytes.data() + packet->bytes.size();
  auto [rest, error] = std::from_chars(packet->bytes.data() + kStarted.size(), end, pid);
  if (error != std::errc() || rest != end || pid <= 0) return fail(printable(packet->bytes));
  return Started{pid, std::move(packet->fds.front())};
}

wire::SessionReply as_reply(const CompiledProfile& profile) {
  return {.policy = profile.policy, .mode = profile.mode, .confinement = profile.confinement};
}

}  // namespace

Result<int> run_standalone(const Options& options, InheritedSignals& signals) {
  const std::string file = options.profile.value_or(default_profile());
  auto profile = compile_profile(options, file);
  if (!profile) return std::unexpected(profile.error());
  Standalone all{.options = options, .signals = signals, .profile = *profile};

  auto rules = SealedMapping::map(profile->rules.get(), policy::kMaxProfileRulesBytes);
  if (!rules) return fail("cannot use the compiled profile: " + rules.error().message);
  all.rules = std::move(*rules);
  if (profile->confinement.filtered) {
    auto filter = FilterProgram::map(profile->filter.get(), "the profile's");
    if (!filter) return std::unexpected(filter.error());
    all.filter = std::move(*filter);
  }
  if (options.action == Options::Action::explain) {
    print(STDOUT_FILENO, explain(as_reply(*profile), &*profile, file, all.filter.instructions().size()));
    return 0;
  }
  all.exec.emplace(options.command, std::getenv("PATH"), environ);
  print_notices(options, profile->notices);
  if (profile->confinement.filtered) {
    auto domain = make_domain(profile->confinement, landlock_abi());
    if (!domain) return std::unexpected(domain.error());
    all.domain = std::move(*domain);
    if (all.domain.notice) print_notices(options, {*all.domain.notice});
  }
  void* memory = ::mmap(nullptr, sizeof(LogLosses), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map memory");
  all.losses = new (memory) LogLosses;
  std::optional<LogName> log_name;
  if (options.audit_log) {
    auto log = EventLog::open(*options.audit_log, options.audit_fd);
    if (!log) return std::unexpected(log.error());
    log_name = log->name();
    all.log = log->release();
  }
  for (Channel* channel : {&all.control, &all.reports}) {
    auto made = make_channel();
    if (!made) return std::unexpected(made.error());
    *channel = std::move(*made);
  }

  // Blocked before CMD can start: from its first moment on wrap is its proxy.
  auto watch = Watch::create();
  if (!watch) return std::unexpected(watch.error());
  kernel::Bystanders bystanders = bystanders_here(false);  // the supervisor, which goes with its tree, has no filter
  pid_t supervisor = ::fork();
  if (supervisor < 0) return fail_errno("cannot create the supervisor's process");
  if (supervisor == 0) supervisor_main(all);
  all.control.supervisor.reset();
  all.reports.supervisor.reset();
  all.log.reset();

  auto started = await_start(all.reports.wrap.get());
  if (!started) {
    ::kill(supervisor, SIGKILL);  // our child and not reaped: the number is its own
    return std::unexpected(started.error());
  }
  StatusReport(options.status_fd).started("", started->pid);
  WatchSpec watched{.pid = started->pid,
                    .pidfd = started->pidfd.get(),
                    .control = all.control.wrap.get(),
                    .reports = all.reports.wrap.get(),
                    .bystanders = std::move(bystanders)};
  SummaryContext context{.profile_file = file, .profile_policy = profile->policy};
  auto status = see_through(options, *watch, watched, *all.exec, nullptr, context);
  if (!log_name) return status;
  for (const auto& problem : log_name->problems(all.losses->count, all.losses->error, all.losses->changed)) {
    print_error(problem);
  }
  return status;
}

}  // namespace wrapd::client
