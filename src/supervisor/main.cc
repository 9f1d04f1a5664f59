// SPDX-License-Identifier: Apache-2.0

// wrap-supervisor: started by the service for one session, never by hand. Its life: read the configuration from the
// broker (descriptor 3), open what only root can open, become the caller (identity.h), confine itself, tell the client
// where to hand over, accept the hand-offs, acknowledge, and answer until the tree is gone (session.h). Whatever fails
// before the acknowledgement ends the process: the client sees its channel close and starts nothing.

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "audit/budget.h"
#include "audit/sink.h"
#include "base/idle_memory.h"
#include "base/io.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "policy/rules.h"
#include "supervisor/descriptor_kind.h"
#include "supervisor/handoff_acceptor.h"
#include "supervisor/identity.h"
#include "supervisor/session/broker_link.h"
#include "supervisor/session/session.h"
#include "wire/control.h"
#include "wire/packet.h"
#include "wire/supervisor_channel.h"
#include "wire/supervisor_config.h"

namespace wrapd::supervisor {
namespace {

using Clock = HandoffAcceptor::Clock;
using namespace std::chrono_literals;

constexpr int kBroker = 3;
constexpr auto kHandoffPatience = 10s;
// The hand-off is over sooner as a rule, and the service hears that we were ready together with that.
constexpr auto kReadyPause = 100ms;
constexpr auto kProfilePatience = 2s;
// Our descriptors have names in the working directory: no name is looked up in the caller's root.
constexpr const char* kOwnDescriptors = ".";

// Waits for as long as the service keeps this process in reserve; an empty packet means that it does not any more.
Result<wire::Packet> receive_config() {
  struct pollfd p {
    .fd = kBroker, .events = POLLIN, .revents = 0
  };
  int patience = static_cast<int>(std::chrono::milliseconds(kIdleAfter).count());
  for (int n = 0; (n = ::poll(&p, 1, patience)) <= 0;) {
    if (n < 0 && errno != EINTR) return fail_errno("cannot wait for a configuration");
    if (n == 0) release_program_pages();
    patience = -1;
  }
  return wire::receive_packet(kBroker, wire::kMaxSupervisorConfig, wire::kConfigFds);
}

Result<wire::Packet> receive_profile(int channel) {
  const auto deadline = Clock::now() + kProfilePatience;
  for (;;) {
    auto packet = wire::receive_packet(channel, wire::kProfileMessage.size(), wire::kMostFds);
    if (packet || packet.error().code != EAGAIN) return packet;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return fail("the profile did not come in time");
    struct pollfd p {
      .fd = channel, .events = POLLIN, .revents = 0
    };
    if (::poll(&p, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return fail_errno("cannot wait for the profile");
    }
  }
}

Result<SealedMapping> map_profile(const std::vector<UniqueFd>& fds) {
  if (fds.size() != 1) return fail("one descriptor makes a profile, not " + std::to_string(fds.size()));
  auto profile = SealedMapping::map(fds.front().get(), policy::kMaxProfileRulesBytes);
  if (!profile) return fail("profile: " + profile.error().message);
  auto rules = policy::RuleSet::open(profile->bytes());
  if (!rules) return fail("profile: " + rules.error().message);
  return profile;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "; ") + line;
  return text;
}

struct Handoffs {
  HandoffAcceptor::Accepted notify;
  HandoffAcceptor::Accepted signal;
};

// What only root can open, and what is opened while the root directory is still our own.
struct Belongings {
  UniqueFd proc;
  UniqueFd own_descriptors;
  std::unique_ptr<audit::Sink> sink;
};

Result<Belongings> gather() {
  Belongings mine;
  mine.proc.reset(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  mine.own_descriptors.reset(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!mine.proc || !mine.own_descriptors) return fail_errno("cannot open /proc");
  mine.sink = audit::open_system_sink(kOwnDescriptors);
  return mine;
}

class Supervisor {
 public:
  Supervisor(UniqueFd broker, wire::SupervisorConfig config, std::vector<UniqueFd> fds, Belongings mine)
      : broker_(std::move(broker)),
        config_(std::move(config)),
        fds_(std::move(fds)),
        sink_(std::move(mine.sink)),
        proc_(std::move(mine.proc)),
        own_descriptors_(std::move(mine.own_descriptors)) {}
  Result<> run();

 private:
  Result<> become_the_caller();
  Result<> take_budget();
  Result<> make_profile_channel();
  // Only now, as the caller: what a stranger gives may be anything, also what blocks who closes it.
  Result<> take_profile();
  void refuse(const char* code, const Error& error);
  Result<> offer();
  Result<Handoffs> accept_handoffs();
  Result<> supervise(Handoffs handoffs);
  UniqueFd& fd(wire::ConfigFd which) { return fds_[static_cast<size_t>(which)]; }
  void report(audit::Event event);
  void tell_broker(wire::SupervisorState state);
  [[nodiscard]] bool ended_by_broker();

  BrokerLink broker_;
  wire::SupervisorConfig config_;
  std::vector<UniqueFd> fds_;
  std::unique_ptr<audit::Sink> sink_;
  std::unique_ptr<audit::Budget> budget_;
  UniqueFd proc_;
  UniqueFd own_descriptors_;
  UniqueFd root_;
  std::vector<SealedMapping> rules_;
  wire::PacketPair profile_channel_;
};

Result<> Supervisor::become_the_caller() {
  if (auto rc = enter_root(fd(wire::ConfigFd::root).get(), own_descriptors_.get()); !rc) return rc;
  own_descriptors_.reset();
  root_.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_) return fail_errno("cannot open the session's root directory");
  fd(wire::ConfigFd::root).reset();

  if (auto rc = assume({.own_uid = config_.own_uid,
                        .own_gid = config_.own_gid,
                        .uid = config_.uid,
                        .gid = config_.gid,
                        .groups = config_.groups});
      !rc) {
    return rc;
  }
  bool confined = false;
  if (auto rc = confine_self(config_.uid, confined); !rc) return rc;
  if (!confined) std::fprintf(stderr, "wrap-supervisor: instrumented build, runs without its own system call filter\n");

  // Only now, as nobody in particular, what a user may have made is looked at.
  auto mapped = SealedMapping::map(fd(wire::ConfigFd::rules).get(), policy::kMaxRulesBytes);
  if (!mapped) return std::unexpected(mapped.error());
  rules_.push_back(std::move(*mapped));
  return {};
}

Result<> Supervisor::take_budget() {
  if (config_.record_slot >= audit::Allowance::kSlots) return fail("there is no such slot for records");
  auto allowance = audit::Allowance::map(fd(wire::ConfigFd::records).get());
  if (!allowance) return std::unexpected(allowance.error());
  fd(wire::ConfigFd::records).reset();
  budget_ = std::make_unique<audit::Budget>(audit::Budget::Share{
      .allowance = std::move(*allowance), .slot = config_.record_slot, .of_all = config_.uid != 0});
  return {};
}

// Before confine_self(), which leaves no way to make one. The connection of the client takes no descriptors: the
// service has held it, and may be the last to close it.
Result<> Supervisor::make_profile_channel() {
  if (!config_.profile) return {};
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  if (!pair) return std::unexpected(pair.error());
  profile_channel_ = std::move(*pair);
  return {};
}

Result<> Supervisor::take_profile() {
  if (!config_.profile) return {};
  const int theirs = profile_channel_.theirs.get();
  auto invited =
      wire::send_packet(fd(wire::ConfigFd::control).get(), wire::encode_profile_invitation(), {&theirs, 1}, true);
  if (!invited) return fail("cannot ask the client for its profile: " + invited.error().message, invited.error().code);
  profile_channel_.theirs.reset();
  // Left to the end of the process, as the profile is if it is none: to close them may take what their maker likes, and
  // the client waits for an answer.
  const int channel = profile_channel_.ours.release();
  auto packet = receive_profile(channel);
  if (!packet) return std::unexpected(packet.error());
  if (packet->eof()) return fail("the client left before it sent its profile", ECANCELED);
  auto profile = map_profile(packet->fds);
  if (!profile) std::ranges::for_each(packet->fds, [](UniqueFd& fd) { (void)fd.release(); });
  if (!profile) return std::unexpected(profile.error());
  rules_.push_back(std::move(*profile));
  return {};
}

// The one message that the client waits for.
Result<> Supervisor::offer() {
  int filter = fd(wire::ConfigFd::filter).get();
  std::span<const int> descriptors(&filter, config_.reply.confinement.filtered ? 1 : 0);
  auto sent = wire::send_packet(fd(wire::ConfigFd::control).get(), wire::encode(config_.reply), descriptors, true);
  if (!sent) return fail("cannot answer the client: " + sent.error().message, sent.error().code);
  fd(wire::ConfigFd::filter).reset();
  return {};
}

void Supervisor::report(audit::Event event) {
  event.session_id = config_.reply.id;
  event.uid = config_.uid;
  event.policy = config_.reply.policy;
  // A sink that takes nothing now takes nothing of this: what matters of a rejection is that it was rejected.
  if (auto written = sink_->write(event); !written) {
    std::fprintf(stderr, "wrap-supervisor: cannot record: %s\n", audit::to_json(event).c_str());
  }
}

// The client waits for an answer, and may be told: nothing in these errors is another user's.
void Supervisor::refuse(const char* code, const Error& error) {
  auto text = wire::encode(wire::ErrorReply{.code = code, .message = error.message});
  // One that has gone does not need to know.
  (void)wire::send_packet(fd(wire::ConfigFd::control).get(), text, {}, true);
}

void Supervisor::tell_broker(wire::SupervisorState state) {
  broker_.report(state);
  // The broker may be restarting; the session does not depend on it.
  broker_.flush(Clock::now());
}

bool Supervisor::ended_by_broker() {
  bool ended = false;
  for (const wire::ServiceOrder& order : broker_.receive())
    ended |= std::holds_alternative<wire::TerminateOrder>(order);
  broker_.flush(Clock::now());
  return ended;
}

Result<Handoffs> Supervisor::accept_handoffs() {
  auto options = [&](wire::HandoffKind kind, const std::string& token) {
    return HandoffAcceptor::Options{.kind = kind,
                                    .peer_uid = config_.uid,
                                    .token = token,
                                    .check_descriptor = {},
                                    .report = [this](audit::Event event) { report(std::move(event)); }};
  };
  auto notify_options = options(wire::HandoffKind::notify, config_.reply.notify_token);
  notify_options.check_descriptor = [](int fd) { return descriptor_is_seccomp_listener(fd, kOwnDescriptors); };
  auto signal_options = options(wire::HandoffKind::signal, config_.reply.signal_token);
  signal_options.check_descriptor = [](int fd) { return descriptor_is_pidfd(fd, kOwnDescriptors); };
  HandoffAcceptor notify(std::move(fd(wire::ConfigFd::notify)), std::move(notify_options));
  HandoffAcceptor signal(std::move(fd(wire::ConfigFd::signal)), std::move(signal_options));
  HandoffAcceptor ptrace(std::move(fd(wire::ConfigFd::ptrace)),
                         options(wire::HandoffKind::ptrace, config_.reply.ptrace_token));

  std::optional<HandoffAcceptor::Accepted> listener;
  std::optional<HandoffAcceptor::Accepted> leader;
  const bool listener_wanted = config_.reply.confinement.filtered;
  const auto deadline = Clock::now() + kHandoffPatience;
  auto ready_due = Clock::now() + kReadyPause;
  while ((listener_wanted && !listener) || !leader) {
    if ((notify.spent() && !listener) || (signal.spent() && !leader))
      return fail("the client handed over something else");
    std::vector<pollfd> polls{{.fd = fd(wire::ConfigFd::control).get(), .events = POLLIN, .revents = 0},
                              {.fd = broker_.fd(), .events = broker_.events(), .revents = 0}};
    auto until = std::min(deadline, ready_due);
    for (HandoffAcceptor* acceptor : {&notify, &signal, &ptrace}) {
      acceptor->collect_poll(polls);
      if (auto due = acceptor->next_deadline(); due && *due < until) until = *due;
    }
    auto now = Clock::now();
    if (now >= deadline) return fail("the client did not hand over in time");
    if (now >= ready_due) {
      broker_.flush(now);
      ready_due = Clock::time_point::max();
      continue;
    }
    auto timeout = std::chrono::ceil<std::chrono::milliseconds>(until > now ? until - now : Clock::duration::zero());
    if (::poll(polls.data(), polls.size(), static_cast<int>(timeout.count())) < 0 && errno != EINTR) {
      return fail_errno("cannot wait for the hand-off");
    }
    // The client has nothing to say before the hand-off: this is its end.
    if (polls[0].revents != 0) return fail("the client left before the hand-off", ECANCELED);
    // Nothing runs yet: the client sees its channel close.
    if (polls[1].revents != 0 && ended_by_broker()) return fail("the service ended the session", ECANCELED);
    now = Clock::now();
    if (auto accepted = notify.step(now)) listener = std::move(accepted);
    if (auto accepted = signal.step(now)) leader = std::move(accepted);
    (void)ptrace.step(now);
  }
  Handoffs handoffs;
  if (listener) handoffs.notify = std::move(*listener);
  handoffs.signal = std::move(*leader);
  return handoffs;
}

Result<> Supervisor::supervise(Handoffs handoffs) {
  auto notify_connection = std::make_shared<UniqueFd>(std::move(handoffs.notify.connection));
  auto signal_connection = std::make_shared<UniqueFd>(std::move(handoffs.signal.connection));
  SessionOptions options{.id = config_.reply.id,
                         .uid = config_.uid,
                         .client_pid = config_.client_pid,
                         .command = config_.command,
                         .policy = config_.reply.policy,
                         .mode = config_.reply.mode,
                         .remarks = joined(config_.reply.notices),
                         .rules = std::move(rules_),
                         .listener = std::move(handoffs.notify.descriptor),
                         .leader = std::move(handoffs.signal.descriptor),
                         .control = std::move(fd(wire::ConfigFd::control)),
                         .proc = std::move(proc_),
                         .root = std::move(root_),
                         .waiting_calls = config_.waiting_calls,
                         .events = config_.events,
                         .sink = std::move(sink_),
                         .budget = std::move(budget_)};
  options.acknowledge = [signal_connection, notify_connection]() -> Result<> {
    if (auto rc = answer(*signal_connection, wire::HandoffAnswer::accepted); !rc) return rc;
    if (*notify_connection) {
      if (auto rc = answer(*notify_connection, wire::HandoffAnswer::accepted); !rc) return rc;
    }
    notify_connection->reset();
    signal_connection->reset();
    return {};
  };
  options.broker = &broker_;
  return run_session(std::move(options));
}

Result<> Supervisor::run() {
  for (auto step : {&Supervisor::make_profile_channel, &Supervisor::become_the_caller, &Supervisor::take_budget}) {
    if (auto rc = (this->*step)(); !rc) {
      refuse("internal", rc.error());
      return rc;
    }
  }
  if (auto rc = take_profile(); !rc) {
    refuse("bad-request", rc.error());
    return rc;
  }
  broker_.report(wire::SupervisorState::ready);
  if (auto rc = offer(); !rc) return rc;
  auto handoffs = accept_handoffs();
  if (!handoffs) broker_.flush(Clock::now());
  if (!handoffs && handoffs.error().code == ECANCELED) {
    // It asked what would be (--explain), or died. Nothing was started, and nothing is supervised.
    tell_broker(wire::SupervisorState::finished);
    return {};
  }
  if (!handoffs) return std::unexpected(handoffs.error());
  return supervise(std::move(*handoffs));
}

int main_of_supervisor() {
  // Before anything else: from here on nobody but root can look into this process.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return EXIT_FAILURE;
  ::umask(0077);
  for (int ignored : {SIGHUP, SIGPIPE, SIGINT, SIGQUIT, SIGTSTP, SIGTTOU, SIGTTIN}) ::signal(ignored, SIG_IGN);
  // One arena: the threads of a session allocate little, and an arena each would be most of its memory.
  ::mallopt(M_ARENA_MAX, 1);

  auto mine = gather();
  if (!mine) {
    std::fprintf(stderr, "wrap-supervisor: %s\n", mine.error().message.c_str());
    return EXIT_FAILURE;
  }
  auto packet = receive_config();
  if (!packet) {
    std::fprintf(stderr, "wrap-supervisor: %s; it is started by wrapd, not by hand\n", packet.error().message.c_str());
    return EXIT_FAILURE;
  }
  if (packet->eof()) return EXIT_SUCCESS;
  auto config = wire::decode_supervisor_config(packet->bytes);
  if (!config || packet->fds.size() != wire::kConfigFds) {
    std::fprintf(stderr, "wrap-supervisor: bad configuration: %s\n",
                 config ? "descriptors are missing" : config.error().message.c_str());
    return EXIT_FAILURE;
  }
  std::string id = config->reply.id;
  auto result = Supervisor(UniqueFd(kBroker), std::move(*config), std::move(packet->fds), std::move(*mine)).run();
  if (!result) {
    std::fprintf(stderr, "wrap-supervisor: session %s: %s\n", id.c_str(), result.error().message.c_str());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace wrapd::supervisor

int main() {
  int status = wrapd::supervisor::main_of_supervisor();
  // Threads that are stuck in the kernel must not hold up the end; nothing is left to be flushed.
  ::_exit(status);
}
