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
#include <optional>

#include "base/idle_memory.h"
#include "kernel/process_table.h"
#include "kernel/seccomp_source.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/dispatch.h"
#include "supervisor/identities.h"
#include "supervisor/loop/loop.h"
#include "supervisor/session/client_channel.h"
#include "supervisor/session/reporter.h"
#include "supervisor/session/session_tree.h"
#include "wire/control.h"

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
      : options_(std::move(options)), client_(std::move(options_.control)), reporter_(options_, layers_, client_) {}
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
  bool flush();
  void settle();

  SessionOptions options_;
  policy::Layers layers_;
  ClientChannel client_;
  Reporter reporter_;
  std::optional<kernel::SeccompSource> source_;
  std::optional<kernel::Kernel> kernel_;
  std::optional<Identities> identities_;
  std::optional<Callers> callers_;
  std::optional<Approvals> approvals_;
  UniqueFd tree_proc_;
  std::optional<SessionTree> tree_;  // with a service only: nobody else can end the session
  std::optional<Dispatch> dispatch_;
  std::optional<Loop> loop_;
  bool over_ = false;  // the tree is gone
  std::optional<std::string> ended_by_;
  Loop::Clock::time_point next_pass_{};
  Loop::Clock::time_point alone_since_{};
  bool client_killed_ = false;
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
  source_.emplace(std::move(options_.listener));
  kernel_.emplace(std::move(options_.proc), open_session_proc(options_.root.get()));
  callers_.emplace(*kernel_, *source_, options_.root.get());
  if (first && *first > 0) callers_->begin_with(static_cast<pid_t>(*first), options_.leader.get());
  identities_.emplace(*kernel_, options_.root.get(), layers_);
  approvals_.emplace(layers_.approval());
  if (options_.broker == nullptr) approvals_->close(kNobodyToAsk);
  dispatch_.emplace(SessionObjects{.kernel = *kernel_,
                                   .layers = layers_,
                                   .root = options_.root.get(),
                                   .identities = *identities_,
                                   .approvals = *approvals_});
  Loop::install_interrupt_handler();
  loop_.emplace(
      *source_, *kernel_, [this](int number) { return dispatch_->handler_of(number); }, *callers_, *approvals_,
      LoopLimits{.waiting = options_.waiting_calls});
  if (options_.broker != nullptr) {
    tree_.emplace(tree_proc_.get(), options_.uid);
    tree_->adopt(options_.client_pid, options_.leader.get());
    loop_->on_call([this](const Notification& call) { tree_->saw(call, *source_); });
  }
  return {};
}

Result<> Session::run() {
  if (auto ready = set_up(); !ready) return ready;
  // With the user's own limits it may be the last moment for that; a supervisor of the service starts them when they
  // are needed.
  if (options_.broker == nullptr && source_->descriptor() >= 0) {
    if (auto started = loop_->start(kSpareThreads); !started) return started;
  }
  if (auto acknowledged = options_.acknowledge(); !acknowledged) return acknowledged;
  reporter_.opened();
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
  const bool filtered = source_->descriptor() >= 0;
  bool idle = false;
  while (!loop_->hung_up()) {
    // The listener is only asked for POLLIN until a thread does; its hang-up is reported always.
    struct pollfd polls[5] = {
        {.fd = filtered ? source_->descriptor() : options_.leader.get(),
         .events = static_cast<short>(!filtered || loop_->idle_from_start() ? POLLIN : 0),
         .revents = 0},
        {.fd = loop_->wake_fd(), .events = POLLIN, .revents = 0},
        {.fd = client_.fd(), .events = POLLIN, .revents = 0},
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
    reporter_.collect(*loop_, *approvals_);
    reporter_.pass_due(now);
    if (polls[2].revents != 0) read_control();
    if (polls[3].revents != 0) options_.on_watch();
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
  if (client_.waiting() || reporter_.waiting()) not_after(now + kRetry);
  not_after(reporter_.next_due());
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
  client_.push_first(wire::encode(wire::Terminated{*ended_by_}));
  (void)client_.flush();
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
  settle();
  // Where we are the parent of CMD, until `wrap` has heard of its end and has gone; else until all is sent.
  while (client_.is_open() && (options_.watch_fd >= 0 || client_.waiting()) && Loop::Clock::now() < deadline) {
    struct pollfd polls[2] = {
        {.fd = client_.fd(), .events = POLLIN, .revents = 0},
        {.fd = options_.watch_fd, .events = POLLIN, .revents = 0},
    };
    (void)flush();
    if (::poll(polls, std::size(polls), static_cast<int>(std::chrono::milliseconds(kRetry).count())) < 0) continue;
    if (polls[0].revents != 0) read_control();
    if (polls[1].revents != 0) options_.on_watch();
    serve_broker();
    if (options_.broker != nullptr) options_.broker->flush(Loop::Clock::now());
  }
  client_.close();
  reporter_.closed(ended_by_ ? wire::SessionEnd{wire::EndReason::terminated, *ended_by_} : wire::SessionEnd{});
  deadline = Loop::Clock::now() + kSinkPatience;
  while (!flush() && Loop::Clock::now() < deadline) {
    (void)::poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(kRetry).count()));
  }
  if (options_.broker == nullptr) return;
  reporter_.report_counters();
  options_.broker->report(wire::SupervisorState::finished);
  options_.broker->flush_all(kBrokerPatience);
}

void Session::read_control() {
  const ClientChannel::Said said = client_.read();
  if (said == ClientChannel::Said::nothing) return;
  client_leaves();
  if (said == ClientChannel::Said::left) {
    client_.close();  // what it started stays supervised
  } else if (!over_) {
    settle();
  }
}

// What lives beneath `wrap` now is nobody's child that we know of in a moment.
void Session::client_leaves() {
  if (!tree_ || over_) return;
  struct pollfd listener {
    .fd = source_->descriptor(), .events = 0, .revents = 0
  };
  // In the common case nothing is left.
  if (::poll(&listener, 1, 0) > 0 && (listener.revents & POLLHUP) != 0) return;
  tree_->remember_descendants();
}

// Sends the summary when every call that was answered so far is recorded.
void Session::settle() {
  auto deadline = Loop::Clock::now() + kSettlePatience;
  while (!loop_->settled() && Loop::Clock::now() < deadline) (void)::poll(nullptr, 0, 1);
  reporter_.collect(*loop_, *approvals_);
  reporter_.send_summary();
}

bool Session::flush() {
  const bool client_done = client_.flush();
  return reporter_.flush() && client_done;
}

}  // namespace

Result<> run_session(SessionOptions options) {
  return Session(std::move(options)).run();
}

}  // namespace wrapd::supervisor
