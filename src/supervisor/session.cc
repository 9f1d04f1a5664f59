// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session.h"

#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>

#include "policy/layers.h"
#include "supervisor/denials.h"
#include "supervisor/identities.h"
#include "supervisor/loop.h"
#include "supervisor/names.h"
#include "supervisor/unix_socket.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxEventsWaiting = 1024;           // for the sink
constexpr size_t kMaxClientBytesWaiting = 2U << 20;  // for `wrap`
constexpr size_t kMaxClientMessage = 4096;
constexpr auto kRetry = 100ms;           // while the journal or `wrap` takes nothing
constexpr auto kFinishPatience = 5s;     // after the tree is gone: for `wrap` to ask for its summary
constexpr auto kSinkPatience = 2s;       // after that: for the journal to take what is left
constexpr auto kSettlePatience = 200ms;  // for an answered call to become a record

class Session {
 public:
  explicit Session(SessionOptions options) : options_(std::move(options)), denials_(layers_) {}
  Result<> run();

 private:
  Result<> set_up();
  void loop_until_hang_up();
  void say_goodbye();
  void read_control();
  void collect();
  void emit(audit::Event event);
  audit::Event event_of(TimedRecord timed) const;
  bool flush();
  bool flush_client();
  void settle();
  [[nodiscard]] bool waiting() const { return !to_client_.empty() || (recorder_ && recorder_->waiting() > 0); }

  SessionOptions options_;
  policy::Layers layers_;
  std::optional<kernel::RealKernel> kernel_;
  std::optional<Identities> identities_;
  std::optional<UnixSocketHandler> unix_sockets_;
  std::optional<NameHandler> names_;
  std::optional<Loop> loop_;
  std::optional<audit::Recorder> recorder_;
  Denials denials_;
  std::deque<std::string> to_client_;
  size_t to_client_bytes_ = 0;  // of events
  bool summary_wanted_ = false;
  bool over_ = false;  // the tree is gone
};

Result<> Session::set_up() {
  for (const SealedMapping& mapping : options_.rules) {
    auto rules = policy::RuleSet::open(mapping.bytes());
    if (!rules) return std::unexpected(rules.error());
    layers_.add(*rules);
  }
  kernel_.emplace(std::move(options_.listener), std::move(options_.proc), options_.privilege);
  if (kernel_->listener() >= 0) (void)kernel_->request_sync_wake_up();  // without it only speed is lost
  identities_.emplace(*kernel_, options_.root.get(), layers_);
  SessionObjects objects{
      .kernel = *kernel_, .layers = layers_, .root = options_.root.get(), .identities = *identities_};
  unix_sockets_.emplace(objects);
  names_.emplace(objects);
  Loop::install_interrupt_handler();
  loop_.emplace(*kernel_, kernel_->listener(), [this](int number) -> Handler* {
    switch (number) {
      case SYS_connect:
      case SYS_bind:
      case SYS_listen:
      case SYS_socket:
      case SYS_socketpair:
        return &*unix_sockets_;
#ifdef SYS_rename
      case SYS_rename:
      case SYS_link:
#endif
#ifdef SYS_renameat
      case SYS_renameat:
#endif
      case SYS_renameat2:
      case SYS_linkat:
        return &*names_;
      default:
        return nullptr;
    }
  });
  if (options_.sink) recorder_.emplace(std::move(options_.sink), kMaxEventsWaiting);
  return {};
}

Result<> Session::run() {
  if (auto ready = set_up(); !ready) return ready;
  if (auto acknowledged = options_.acknowledge(); !acknowledged) return acknowledged;
  audit::Event opened = audit::make_event(audit::Kind::session_opened);
  opened.pid = options_.client_pid;
  opened.command = options_.command;
  opened.policy = options_.policy;
  opened.mode = options_.mode;
  opened.reason = options_.remarks;
  emit(std::move(opened));
  if (options_.on_running) options_.on_running();

  loop_until_hang_up();
  say_goodbye();
  return {};
}

void Session::loop_until_hang_up() {
  // Mode disabled: nothing is filtered, there is no listener, and the session is as long as its first process.
  const bool filtered = kernel_->listener() >= 0;
  while (!loop_->hung_up()) {
    // The listener is only asked for POLLIN until a thread does; its hang-up is reported always.
    struct pollfd polls[4] = {
        {.fd = filtered ? kernel_->listener() : options_.leader.get(),
         .events = static_cast<short>(!filtered || loop_->idle_from_start() ? POLLIN : 0),
         .revents = 0},
        {.fd = loop_->wake_fd(), .events = POLLIN, .revents = 0},
        {.fd = options_.control.get(), .events = POLLIN, .revents = 0},
        {.fd = options_.watch_fd, .events = POLLIN, .revents = 0},
    };
    auto timeout = loop_->active() ? 5ms : waiting() ? std::chrono::milliseconds(kRetry) : -1ms;
    int n = ::poll(polls, std::size(polls), static_cast<int>(timeout.count()));
    if (n < 0) continue;  // EINTR
    bool readable = (polls[0].revents & POLLIN) != 0;
    if (filtered ? (polls[0].revents & POLLHUP) != 0 && !readable : readable) loop_->set_hung_up();
    if (filtered && readable && loop_->idle_from_start()) {
      // Without a thread nothing is answered. Ending the session fails every trapped call from here on.
      if (!loop_->start()) return;
    }
    loop_->tick(Loop::Clock::now());
    collect();
    if (polls[2].revents != 0) read_control();
    if (polls[3].revents != 0) options_.on_watch();
    if (summary_wanted_) settle();
    (void)flush();
  }
}

// The tree is gone. `wrap` is about to ask what was denied, and is told at once; the journal may be away for a moment.
void Session::say_goodbye() {
  auto deadline = Loop::Clock::now() + kFinishPatience;
  over_ = true;
  summary_wanted_ = true;
  settle();
  // Until it has gone: closing with something of its unread would take the summary away from it.
  while (options_.control && Loop::Clock::now() < deadline) {
    struct pollfd polls[2] = {
        {.fd = options_.control.get(), .events = POLLIN, .revents = 0},
        {.fd = options_.watch_fd, .events = POLLIN, .revents = 0},
    };
    (void)flush();
    if (::poll(polls, std::size(polls), static_cast<int>(std::chrono::milliseconds(kRetry).count())) < 0) continue;
    if (polls[0].revents != 0) read_control();
    if (polls[1].revents != 0) options_.on_watch();
  }
  options_.control.reset();
  to_client_.clear();

  audit::Event closed = audit::make_event(audit::Kind::session_closed);
  closed.pid = options_.client_pid;
  closed.policy = options_.policy;
  closed.mode = options_.mode;
  closed.reason = "finished";
  closed.allowed = denials_.summary().allowed + denials_.summary().audited;
  closed.denied = denials_.summary().denied;
  emit(std::move(closed));
  deadline = Loop::Clock::now() + kSinkPatience;
  while (!flush() && Loop::Clock::now() < deadline) {
    (void)::poll(nullptr, 0, static_cast<int>(std::chrono::milliseconds(kRetry).count()));
  }
  if (options_.on_finished) options_.on_finished();
}

void Session::read_control() {
  auto packet = wire::receive_packet(options_.control.get(), kMaxClientMessage, 0);
  if (!packet && packet.error().code == EAGAIN) return;
  if (!packet || packet->eof() || !wire::is_finish_request(packet->bytes)) {
    // `wrap` is gone, or talks nonsense. What it started stays supervised.
    options_.control.reset();
    to_client_.clear();
    return;
  }
  if (over_) return;  // it has been told
  summary_wanted_ = true;
  settle();
}

// Answers a request for the summary when every call that was answered so far is recorded.
void Session::settle() {
  auto deadline = Loop::Clock::now() + kSettlePatience;
  while (!loop_->settled() && Loop::Clock::now() < deadline) (void)::poll(nullptr, 0, 1);
  collect();
  if (!summary_wanted_ || !options_.control) return;
  // Behind the events that wait for the same socket.
  wire::Summary summary = denials_.summary();
  if (recorder_) {
    (void)recorder_->flush();
    summary.lost += recorder_->lost();
  }
  to_client_.push_back(wire::encode(summary));
  summary_wanted_ = false;
  (void)flush_client();
}

void Session::collect() {
  uint64_t lost = 0;
  for (TimedRecord& timed : loop_->take_records(lost)) {
    denials_.count(timed.record);
    emit(event_of(std::move(timed)));
  }
  if (lost == 0) return;
  denials_.count_lost(lost);
  audit::Event event = audit::make_event(audit::Kind::events_lost);
  event.count = lost;
  event.reason = "more calls than could be recorded";
  emit(std::move(event));
}

audit::Event Session::event_of(TimedRecord timed) const {
  Record& record = timed.record;
  audit::Event event = audit::make_event(audit::Kind::unix_socket_op);
  event.time = timed.time;
  event.pid = timed.tid;
  event.comm = std::move(record.comm);
  event.exe = std::move(record.exe);
  event.operation = std::move(record.operation);
  event.decision = std::string(policy::to_string(record.decision.recorded));
  event.action = record.done ? "allowed" : "denied";
  event.reason = std::move(record.reason);
  event.path = std::move(record.path);
  event.abstract = record.abstract;
  event.target = std::move(record.target);
  event.error = timed.error;
  if (record.decision.layer < layers_.size()) {
    const policy::RuleSet& layer = layers_.layer(record.decision.layer);
    event.policy = std::string(layer.policy_name());
    event.mode = std::string(policy::to_string(layer.unix_socket_mode()));
    if (record.decision.rule >= 0) event.rule = std::string(layer.rule(record.decision.rule).name);
  }
  return event;
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
  if (recorder_) recorder_->record(std::move(event));
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
