// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/session.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <deque>
#include <optional>

#include "audit/repeats.h"
#include "base/idle_memory.h"
#include "kernel/process_table.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/calls/rename_link.h"
#include "supervisor/calls/socket.h"
#include "supervisor/dispatch.h"
#include "supervisor/identities.h"
#include "supervisor/loop/loop.h"
#include "supervisor/report.h"
#include "supervisor/session/denials.h"
#include "supervisor/session/session_tree.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

// Nothing if there is none that could be the session's: names in it are then refused.
UniqueFd open_session_proc(int root) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root, "proc", &how, sizeof how)));
}

using namespace std::chrono_literals;

constexpr size_t kMaxEventsWaiting = 1024;           // for the sink
constexpr size_t kMaxClientBytesWaiting = 2U << 20;  // for `wrap`
constexpr size_t kMaxClientMessage = 4096;
constexpr size_t kSpareThreads = 1;      // one call may wait and others be handled, whatever limits there are
constexpr auto kRetry = 100ms;           // while the journal or `wrap` takes nothing
constexpr auto kFinishPatience = 5s;     // after the tree is gone: for `wrap` to ask for its summary
constexpr auto kSinkPatience = 2s;       // after that: for the journal to take what is left
constexpr auto kSettlePatience = 200ms;  // for an answered call to become a record
constexpr auto kBrokerPatience = 1s;     // for the service to take the last reports
constexpr auto kEndPass = 500ms;         // one pass through a tree that is being ended
constexpr auto kEndPause = 20ms;         // between two while something is found
constexpr auto kEndPauseAlone = 1s;      // between two when nothing was for kEndAlone
constexpr auto kEndAlone = 10s;
constexpr auto kClientPatience = 15s;  // for `wrap` to leave once its tree is gone; it tries for 10 to end it, too
constexpr const char* kNobodyToAsk = "decision: ask needs the service";
constexpr const char* kServiceStopped = "the service was stopped: nobody can be asked";
constexpr const char* kEnding = "the session is being ended";
constexpr const char* kOver = "the session is over";

class Session {
 public:
  explicit Session(SessionOptions options)
      : options_(std::move(options)),
        denials_(layers_),
        repeats_([this](audit::Event event) { emit(std::move(event)); }) {}
  Result<> run();

 private:
  Result<> set_up();
  void loop_until_hang_up();
  void say_goodbye();
  [[nodiscard]] std::chrono::milliseconds timeout(Loop::Clock::time_point now);
  void read_control();
  void client_leaves();
  void serve_broker();
  void terminate(std::string reason);
  void end_tree(Loop::Clock::time_point now);
  void collect();
  void collect_notices();
  void tell_waiting(const wire::CallReport& call);
  void report_counters();
  void emit(audit::Event event);
  void record(audit::Event event);
  void record_losses(Loop::Clock::time_point now, bool at_the_end);
  [[nodiscard]] uint64_t lost() const;
  bool flush();
  bool flush_client();
  void settle();
  [[nodiscard]] bool waiting() const { return !to_client_.empty() || (recorder_ && recorder_->waiting() > 0); }

  SessionOptions options_;
  policy::Layers layers_;
  std::optional<kernel::RealKernel> kernel_;
  std::optional<Identities> identities_;
  std::optional<Callers> callers_;
  std::optional<Approvals> approvals_;
  UniqueFd tree_proc_;
  std::optional<SessionTree> tree_;  // with a service only: nobody else can end the session
  std::optional<SocketHandler> unix_sockets_;
  std::optional<RenameLinkHandler> names_;
  Dispatch dispatch_;
  std::optional<Loop> loop_;
  std::optional<audit::Recorder> recorder_;
  Denials denials_;
  audit::Repeats repeats_;
  std::deque<std::string> to_client_;
  size_t to_client_bytes_ = 0;  // of events
  bool summary_wanted_ = false;
  bool over_ = false;  // the tree is gone
  std::optional<std::string> ended_by_;
  Loop::Clock::time_point next_pass_{};
  Loop::Clock::time_point alone_since_{};
  bool client_killed_ = false;
  wire::CounterReport counters_;
};

Result<> Session::set_up() {
  for (const SealedMapping& mapping : options_.rules) {
    auto rules = policy::RuleSet::open(mapping.bytes());
    if (!rules) return std::unexpected(rules.error());
    layers_.add(*rules);
  }
  if (options_.broker != nullptr) {
    tree_proc_.reset(::fcntl(options_.proc.get(), F_DUPFD_CLOEXEC, 3));
    if (!tree_proc_) return fail_errno("cannot duplicate the descriptor of /proc");
  }
  std::array<char, 48> of_leader;
  std::snprintf(of_leader.data(), of_leader.size(), "self/fdinfo/%d", options_.leader.get());
  const auto first = kernel::number_in(options_.proc.get(), of_leader.data(), "Pid:");
  kernel_.emplace(std::move(options_.listener), std::move(options_.proc), open_session_proc(options_.root.get()));
  if (kernel_->listener() >= 0) (void)kernel_->request_sync_wake_up();  // without it only speed is lost
  callers_.emplace(*kernel_, options_.root.get());
  if (first && *first > 0) callers_->begin_with(static_cast<pid_t>(*first), options_.leader.get());
  identities_.emplace(*kernel_, options_.root.get(), layers_);
  approvals_.emplace(layers_.approval());
  if (options_.broker == nullptr) approvals_->close(kNobodyToAsk);
  SessionObjects objects{.kernel = *kernel_,
                         .layers = layers_,
                         .root = options_.root.get(),
                         .identities = *identities_,
                         .approvals = *approvals_};
  unix_sockets_.emplace(objects);
  names_.emplace(objects);
  Loop::install_interrupt_handler();
  dispatch_.add(plan::TrapGroup::sockets, *unix_sockets_);
  dispatch_.add(plan::TrapGroup::socket_creation, *unix_sockets_);
  dispatch_.add(plan::TrapGroup::rename_link, *names_);
  loop_.emplace(
      *kernel_, kernel_->listener(), [this](int number) { return dispatch_.handler_of(number); }, *callers_,
      *approvals_, LoopLimits{.waiting = options_.waiting_calls});
  if (options_.broker != nullptr) {
    tree_.emplace(tree_proc_.get(), options_.uid);
    tree_->adopt(options_.client_pid, options_.leader.get());
    loop_->on_call([this](const Notification& call) { tree_->saw(call, *kernel_); });
  }
  if (options_.sink) recorder_.emplace(std::move(options_.sink), kMaxEventsWaiting);
  return {};
}

Result<> Session::run() {
  if (auto ready = set_up(); !ready) return ready;
  // With the user's own limits it may be the last moment for that; a supervisor of the service starts them when they
  // are needed.
  if (options_.broker == nullptr && kernel_->listener() >= 0) {
    if (auto started = loop_->start(kSpareThreads); !started) return started;
  }
  if (auto acknowledged = options_.acknowledge(); !acknowledged) return acknowledged;
  audit::Event opened = audit::make_event(audit::Kind::session_opened);
  opened.pid = options_.client_pid;
  opened.command = options_.command;
  opened.policy = options_.policy;
  opened.mode = options_.mode;
  opened.reason = options_.remarks;
  emit(std::move(opened));
  if (options_.broker != nullptr) {
    options_.broker->report(wire::SupervisorState::running);
    options_.broker->flush(Loop::Clock::now());
  }

  loop_until_hang_up();
  say_goodbye();
  return {};
}

void Session::loop_until_hang_up() {
  // Mode disabled: nothing is filtered, there is no listener, and the session is as long as its first process.
  const bool filtered = kernel_->listener() >= 0;
  bool idle = false;
  while (!loop_->hung_up()) {
    // The listener is only asked for POLLIN until a thread does; its hang-up is reported always.
    struct pollfd polls[5] = {
        {.fd = filtered ? kernel_->listener() : options_.leader.get(),
         .events = static_cast<short>(!filtered || loop_->idle_from_start() ? POLLIN : 0),
         .revents = 0},
        {.fd = loop_->wake_fd(), .events = POLLIN, .revents = 0},
        {.fd = options_.control.get(), .events = POLLIN, .revents = 0},
        {.fd = options_.watch_fd, .events = POLLIN, .revents = 0},
        {.fd = options_.broker != nullptr ? options_.broker->fd() : -1,
         .events = options_.broker != nullptr ? options_.broker->events() : short{0},
         .revents = 0},
    };
    auto limit = timeout(Loop::Clock::now());
    const bool may_idle = limit.count() < 0 && !idle;
    if (may_idle) limit = kIdleAfter;
    int n = ::poll(polls, std::size(polls), static_cast<int>(limit.count()));
    idle = n == 0 && may_idle;
    if (idle) release_program_pages();
    if (n < 0 || idle) continue;  // EINTR; nothing has happened
    bool readable = (polls[0].revents & POLLIN) != 0;
    if (filtered ? (polls[0].revents & POLLHUP) != 0 && !readable : readable) loop_->set_hung_up();
    if (filtered && readable && loop_->idle_from_start()) {
      // Without a thread nothing is answered. Ending the session fails every trapped call from here on.
      if (!loop_->start()) return;
    }
    auto now = Loop::Clock::now();
    serve_broker();
    approvals_->expire();
    if (ended_by_ && now >= next_pass_) end_tree(now);
    loop_->tick(now);
    collect();
    repeats_.pass_due(now);
    record_losses(now, false);
    if (polls[2].revents != 0) read_control();
    if (polls[3].revents != 0) options_.on_watch();
    if (summary_wanted_) settle();
    (void)flush();
    if (options_.broker != nullptr) options_.broker->flush(now);
  }
}

// Until when poll(2) may sleep, from now; negative: for ever.
std::chrono::milliseconds Session::timeout(Loop::Clock::time_point now) {
  auto soonest = Loop::Clock::time_point::max();
  auto not_after = [&](std::optional<Loop::Clock::time_point> due) {
    soonest = std::min(soonest, due.value_or(soonest));
  };
  if (auto patience = loop_->patience(now)) not_after(now + *patience);
  if (waiting()) not_after(now + kRetry);
  not_after(repeats_.next_due());
  if (options_.budget) not_after(options_.budget->next_report());
  not_after(approvals_->next_deadline());
  if (ended_by_) not_after(next_pass_);
  if (options_.broker != nullptr) not_after(options_.broker->next_flush(now));
  if (soonest == Loop::Clock::time_point::max()) return -1ms;
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(soonest - now), 0ms);
}

// What the service orders.
void Session::serve_broker() {
  if (options_.broker == nullptr) return;
  for (wire::ServiceOrder& order : options_.broker->receive()) {
    if (auto* answer = std::get_if<wire::AnswerOrder>(&order)) {
      // One that comes too late finds no question.
      (void)approvals_->answer(answer->question, answer->allow, answer->by);
    } else if (auto* end = std::get_if<wire::TerminateOrder>(&order); end != nullptr && !over_) {
      terminate(std::move(end->reason));
    }
  }
  if (options_.broker->closed()) approvals_->close(kServiceStopped);
}

void Session::terminate(std::string reason) {
  if (ended_by_) return;
  ended_by_ = reason.empty() ? "the service" : std::move(reason);
  options_.broker->report(wire::SupervisorState::terminating);
  // Before anything is stopped: `wrap` is not to take that for a stop by the user.
  if (options_.control) {
    to_client_.push_front(wire::encode_terminated(*ended_by_));
    to_client_bytes_ += to_client_.front().size();
    (void)flush_client();
  }
  approvals_->close(kEnding);
  loop_->terminate();
  next_pass_ = alone_since_ = Loop::Clock::now();
}

// One pass. `wrap` leaves by itself when its tree is gone; one that does not would keep its dead children, and with
// them the filter, for ever.
void Session::end_tree(Loop::Clock::time_point now) {
  bool found = tree_->kill_all(now + kEndPass) > 0;
  now = Loop::Clock::now();
  if (found) alone_since_ = now;
  // Nothing found is no proof: what runs from process to process may have been between two.
  const bool alone = now - alone_since_ >= kEndAlone;
  next_pass_ = now + (alone ? std::chrono::milliseconds(kEndPauseAlone) : std::chrono::milliseconds(kEndPause));
  if (client_killed_) return;
  client_killed_ = now - alone_since_ >= kClientPatience;
  tree_->signal_client(client_killed_ ? SIGKILL : SIGCONT);
}

// The tree is gone. `wrap` is about to ask what was denied, and is told at once; the journal may be away for a moment.
void Session::say_goodbye() {
  auto deadline = Loop::Clock::now() + kFinishPatience;
  over_ = true;
  approvals_->close(kOver);
  summary_wanted_ = true;
  settle();
  // Where we are the parent of CMD, until `wrap` has heard of its end and has gone; else until all is sent.
  while (options_.control && (options_.watch_fd >= 0 || !to_client_.empty()) && Loop::Clock::now() < deadline) {
    struct pollfd polls[2] = {
        {.fd = options_.control.get(), .events = POLLIN, .revents = 0},
        {.fd = options_.watch_fd, .events = POLLIN, .revents = 0},
    };
    (void)flush();
    if (::poll(polls, std::size(polls), static_cast<int>(std::chrono::milliseconds(kRetry).count())) < 0) continue;
    if (polls[0].revents != 0) read_control();
    if (polls[1].revents != 0) options_.on_watch();
    serve_broker();
    if (options_.broker != nullptr) options_.broker->flush(Loop::Clock::now());
  }
  options_.control.reset();
  to_client_.clear();

  audit::Event closed = audit::make_event(audit::Kind::session_closed);
  closed.pid = options_.client_pid;
  closed.policy = options_.policy;
  closed.mode = options_.mode;
  closed.reason = ended_by_ ? "terminated by " + *ended_by_ : "finished";
  closed.allowed = denials_.summary().allowed + denials_.summary().audited;
  closed.denied = denials_.summary().denied;
  repeats_.pass_all();
  record_losses(Loop::Clock::now(), true);
  if (const uint64_t events = lost(); events > 0) closed.count = events;
  emit(std::move(closed));
  record_losses(Loop::Clock::now(), true);  // itself may not have fitted
  deadline = Loop::Clock::now() + kSinkPatience;
  while (!flush() && Loop::Clock::now() < deadline) {
    (void)::poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(kRetry).count()));
  }
  if (options_.broker == nullptr) return;
  report_counters();
  options_.broker->report(wire::SupervisorState::finished);
  options_.broker->flush_all(kBrokerPatience);
}

void Session::read_control() {
  auto packet = wire::receive_packet(options_.control.get(), kMaxClientMessage, 0);
  if (!packet && packet.error().code == EAGAIN) return;
  if (!packet || packet->eof() || !wire::is_finish_request(packet->bytes)) {
    // `wrap` is gone, or talks nonsense. What it started stays supervised.
    client_leaves();
    options_.control.reset();
    to_client_.clear();
    return;
  }
  if (over_) return;  // it has been told
  client_leaves();
  summary_wanted_ = true;
  settle();
}

// What lives beneath `wrap` now is nobody's child that we know of in a moment.
void Session::client_leaves() {
  if (!tree_ || over_) return;
  struct pollfd listener {
    .fd = kernel_->listener(), .events = 0, .revents = 0
  };
  // In the common case nothing is left.
  if (::poll(&listener, 1, 0) > 0 && (listener.revents & POLLHUP) != 0) return;
  tree_->remember_descendants();
}

// Answers a request for the summary when every call that was answered so far is recorded.
void Session::settle() {
  auto deadline = Loop::Clock::now() + kSettlePatience;
  while (!loop_->settled() && Loop::Clock::now() < deadline) (void)::poll(nullptr, 0, 1);
  collect();
  repeats_.pass_all();
  if (!summary_wanted_ || !options_.control) return;
  // Behind the events that wait for the same socket.
  if (recorder_) (void)recorder_->flush();
  wire::Summary summary = denials_.summary();
  summary.lost = lost();
  to_client_.push_back(wire::encode(summary));
  summary_wanted_ = false;
  (void)flush_client();
}

void Session::collect() {
  uint64_t lost = 0;
  collect_notices();
  auto now = Loop::Clock::now();
  for (TimedRecord& timed : loop_->take_records(lost)) {
    denials_.count(timed.record);
    if (options_.broker != nullptr && !timed.record.done) {
      options_.broker->report_denial(call_report(layers_, timed.record, timed.tid), now);
    }
    repeats_.add(event_of(layers_, std::move(timed)), now);
  }
  report_counters();
  if (lost == 0) return;
  denials_.count_lost(lost);
  audit::Event event = audit::make_event(audit::Kind::events_lost);
  event.count = lost;
  event.reason = "more calls than could be recorded";
  emit(std::move(event));
}

// The questions: recorded, and told to the service.
void Session::collect_notices() {
  using Kind = Approvals::Notice::Kind;
  for (Approvals::Notice& notice : approvals_->take_notices()) {
    const bool asked = notice.kind == Kind::asked;
    const char* what = asked                          ? "asked"
                       : notice.kind == Kind::allowed ? "allowed"
                       : notice.kind == Kind::denied  ? "denied"
                       : notice.kind == Kind::expired ? "expired"
                                                      : "withdrawn";
    audit::Event event = audit::make_event(audit::Kind::approval);
    event.pid = notice.call.pid;
    event.comm = notice.call.comm;
    event.exe = notice.call.exe;
    event.operation = notice.call.operation;
    event.decision = std::string(policy::to_string(policy::Verdict::ask));
    event.rule = notice.call.rule;
    event.policy = notice.call.policy;
    event.action = what;
    event.path = notice.call.target;
    event.abstract = notice.call.abstract;
    event.question = notice.question;
    event.by = notice.by;
    emit(std::move(event));
    if (asked) tell_waiting(notice.call);
    if (options_.broker == nullptr) continue;
    if (asked) {
      options_.broker->report_question({.question = notice.question,
                                        .call = std::move(notice.call),
                                        .guidance = std::move(notice.guidance),
                                        .timeout_ms = 0},
                                       notice.deadline);
    } else {
      options_.broker->report_gone({.question = notice.question, .how = what});
    }
  }
}

// Only if `wrap` takes it at once: what waits behind other messages would be old when it is shown. That `wrap` is gone
// read_control() sees.
void Session::tell_waiting(const wire::CallReport& call) {
  if (!flush_client() || !options_.control) return;
  wire::WaitingCall waiting{.operation = call.operation, .target = call.target, .abstract = call.abstract};
  (void)wire::send_packet(options_.control.get(), wire::encode(waiting), {}, true);
}

void Session::report_counters() {
  if (options_.broker == nullptr) return;
  const wire::Summary& summary = denials_.summary();
  wire::CounterReport counters{
      .allowed = summary.allowed, .denied = summary.denied, .audited = summary.audited, .lost = lost()};
  if (counters == counters_) return;
  counters_ = counters;
  options_.broker->report(counters);
}

// Events that are in no record of their own.
uint64_t Session::lost() const {
  return denials_.summary().lost + (recorder_ ? recorder_->lost() : 0) +
         (options_.budget ? options_.budget->lost() : 0);
}

void Session::record(audit::Event event) {
  event.uid = options_.uid;
  if (recorder_) recorder_->record(std::move(event));
}

void Session::record_losses(Loop::Clock::time_point now, bool at_the_end) {
  if (!options_.budget) return;
  if (auto losses = options_.budget->losses(now, at_the_end)) {
    losses->session_id = options_.id;
    record(std::move(*losses));
  }
  if (!at_the_end) return;
  if (auto losses = options_.budget->losses_of_the_user(now)) record(std::move(*losses));
}

void Session::emit(audit::Event event) {
  event.session_id = options_.id;
  event.uid = options_.uid;
  if (options_.events && options_.control) {
    if (to_client_bytes_ < kMaxClientBytesWaiting) {
      to_client_.push_back(wire::encode_event(audit::to_json(event)));
      to_client_bytes_ += to_client_.back().size();
    } else {
      denials_.count_lost(1);
    }
  }
  if (options_.budget && !options_.budget->admits(event, Loop::Clock::now())) return;
  record(std::move(event));
}

bool Session::flush_client() {
  while (!to_client_.empty() && options_.control) {
    auto sent = wire::send_packet(options_.control.get(), to_client_.front(), {}, true);
    if (!sent && sent.error().code == EAGAIN) return false;
    if (!sent) {
      options_.control.reset();
      to_client_.clear();
      return true;
    }
    to_client_bytes_ -= std::min(to_client_bytes_, to_client_.front().size());
    to_client_.pop_front();
  }
  return true;
}

bool Session::flush() {
  bool client_done = flush_client();
  bool sink_done = !recorder_ || recorder_->flush();
  return client_done && sink_done;
}

}  // namespace

Result<> run_session(SessionOptions options) {
  return Session(std::move(options)).run();
}

}  // namespace wrapd::supervisor
