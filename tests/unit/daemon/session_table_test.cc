// SPDX-License-Identifier: Apache-2.0

// A table with short deadlines over real processes; the test plays the supervisor on the other end of the channel.

#include "daemon/session_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include "daemon/manager_notice.h"
#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/users.h"
#include "wire/packet.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {
namespace {

using wire::SupervisorState;
namespace fs = std::filesystem;

class Keep final : public audit::Sink {
 public:
  Keep(std::vector<audit::Event>& events, EventLoop& loop) : events_(events), loop_(loop) {}
  Result<> write(const audit::Event& event) override {
    events_.push_back(event);
    loop_.stop();
    return {};
  }

 private:
  std::vector<audit::Event>& events_;
  EventLoop& loop_;
};

constexpr std::chrono::milliseconds kNever{600'000};

class Sessions : public ::testing::Test {
 protected:
  void SetUp() override { WRAPD_NEEDS_ROOT(); }

  void TearDown() override {
    table_.reset();
    // Unless the table has waited for it.
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  // A session whose process does nothing until it is killed.
  void open(std::chrono::milliseconds deadline) {
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop);
    loop_ = std::make_unique<EventLoop>(std::move(*loop));
    journal_ = std::make_unique<Journal>(*loop_, std::make_unique<Keep>(events_, *loop_));
    store_ = std::make_unique<FdStore>(*loop_, 8);
    make_table(deadline);
    auto runtime = RuntimeDirectory::open(top_.path() + "/run");
    ASSERT_TRUE(runtime);
    runtime_ = std::move(*runtime);
    auto directory = SessionDirectory::create(runtime_, kStranger, false);
    ASSERT_TRUE(directory);
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      for (;;) ::pause();
    }
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    supervisor_.reset(pair[1]);
    SupervisorProcess process;
    process.channel.reset(pair[0]);
    channel_.reset(::fcntl(pair[0], F_DUPFD_CLOEXEC, 3));
    process.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    id_ = directory->id();
    ASSERT_TRUE(table_->add(facts(), std::move(*directory), std::move(process), table_->places().take(kStranger)));
  }
  void open_running() {
    open(kNever);
    say(SupervisorState::ready);
    say(SupervisorState::running);
    run_until([&] { return info().state == SessionState::running; });
  }
  void make_table(std::chrono::milliseconds deadline) {
    table_ = std::make_unique<SessionTable>(*loop_, *journal_, *store_,
                                            SessionTable::Deadlines{deadline, deadline, deadline});
  }
  [[nodiscard]] SessionFacts facts() const {
    return {.id = id_, .uid = kStranger, .client_pid = 1, .policy = "p", .mode = "enforce", .waiting_calls = 40};
  }
  // As the next run of the service finds it.
  void find_again(std::chrono::milliseconds deadline, std::optional<EndOrder> end) {
    table_.reset();
    make_table(deadline);
    SupervisorProcess process;
    process.channel.reset(::fcntl(channel_.get(), F_DUPFD_CLOEXEC, 3));
    process.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    ASSERT_TRUE(table_->restore(facts(), SessionDirectory::adopt(runtime_, id_), std::move(process), std::move(end),
                                table_->places().take(kStranger)));
    EXPECT_EQ(table_->calls().of(kStranger), 40U) << "what it was given before counts";
  }
  void say(wire::SupervisorState state) {
    ASSERT_TRUE(wire::send_packet(supervisor_.get(), wire::encode(wire::StateReport{state}), {}, true));
  }
  void tell(const wire::SupervisorReport& report) {
    ASSERT_TRUE(wire::send_packet(supervisor_.get(), wire::encode(report), {}, true));
  }
  void tell_when_there_is_room(const wire::SupervisorReport& report) {
    const std::string text = wire::encode(report);
    run_until([&] { return wire::send_packet(supervisor_.get(), text, {}, true).has_value(); });
  }
  void ask(uint64_t number, uint64_t timeout_ms = 600'000) {
    tell(wire::QuestionReport{.question = number,
                              .call = {.operation = "connect", .target = "/x", .rule = "r", .policy = "p", .pid = 1},
                              .guidance = {},
                              .timeout_ms = timeout_ms});
  }
  [[nodiscard]] SessionInfo info() const { return table_->find(id_).value(); }
  void run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      ASSERT_TRUE(loop_->run_once(std::chrono::milliseconds(10)));
    }
  }
  [[nodiscard]] bool sockets_gone() const { return fs::is_empty(runtime_.sessions_path); }
  // Until the end of the session is recorded.
  const audit::Event& end() {
    EXPECT_TRUE(loop_->run());
    EXPECT_EQ(events_.size(), 1U);
    EXPECT_EQ(events_.at(0).kind, audit::Kind::session_closed);
    EXPECT_EQ(table_->size(), 0U);
    EXPECT_EQ(table_->places().total(), 0U);
    EXPECT_EQ(table_->calls().total(), 0U);
    EXPECT_TRUE(sockets_gone());
    return events_.at(0);
  }

  test::TemporaryDirectory top_;
  std::vector<audit::Event> events_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<FdStore> store_;
  RuntimeDirectory runtime_;
  std::unique_ptr<SessionTable> table_;
  UniqueFd supervisor_;
  pid_t pid_ = 0;
  std::string id_;
  UniqueFd channel_;  // the service's end
};

// The service manager's end of NOTIFY_SOCKET.
class Manager {
 public:
  Manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    // autobind, unix(7)
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    socklen_t length = sizeof address;
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    const std::string name(address.sun_path + 1, length - offsetof(sockaddr_un, sun_path) - 1);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }
  ~Manager() { ::unsetenv("NOTIFY_SOCKET"); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Nothing: an empty message.
  std::pair<std::string, std::vector<UniqueFd>> next() {
    auto packet = wire::receive_packet(socket_.get(), 4096, 4);
    if (!packet) return {};
    return {std::move(packet->bytes), std::move(packet->fds)};
  }
  void fill() {
    while (tell_manager("STATUS=x", {})) {
    }
  }
  void drain() {
    while (!next().first.empty()) {
    }
  }

 private:
  UniqueFd socket_;
};

constexpr int kHuge = 8 << 20;
constexpr std::chrono::milliseconds kSoon{20};

TEST_F(Sessions, NeverReadyIsKilled) {
  open(kSoon);
  EXPECT_NE(end().reason.find("not ready within 20 ms"), std::string::npos);
}

TEST_F(Sessions, HandoffsNeverDoneIsKilled) {
  open(kSoon);
  say(SupervisorState::ready);
  EXPECT_NE(end().reason.find("hand-offs were not done"), std::string::npos);
}

TEST_F(Sessions, FinishedButStillThereIsKilledAndNotRecordedTwice) {
  open(kSoon);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  say(SupervisorState::finished);
  auto give_up = loop_->after(std::chrono::seconds(20), [&] { loop_->stop(); });
  ASSERT_TRUE(give_up);
  auto pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  // Lower in priority than the table's own source: it has taken note when this runs.
  auto gone = loop_->on_io(
      pidfd.get(), 1, [&](uint32_t) { loop_->stop(); }, EventLoop::kNewConnections);
  ASSERT_TRUE(gone);
  ASSERT_TRUE(loop_->run());
  EXPECT_EQ(table_->size(), 0U);
  EXPECT_TRUE(events_.empty()) << "the supervisor had recorded the end";
}

TEST_F(Sessions, DeathWhileRunningIsRecorded) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  EXPECT_EQ(end().reason, "supervisor died: it was killed by signal 9");
}

TEST_F(Sessions, StatesOutOfOrderEndIt) {
  open(kNever);
  say(SupervisorState::running);
  say(SupervisorState::ready);
  EXPECT_NE(end().reason.find("out of order"), std::string::npos);
}

TEST_F(Sessions, TerminatingBeforeItRanEndsIt) {
  open(kNever);
  say(SupervisorState::terminating);
  EXPECT_NE(end().reason.find("out of order"), std::string::npos);
}

TEST_F(Sessions, NonsenseEndsIt) {
  open(kNever);
  ASSERT_EQ(::send(supervisor_.get(), "rr", 2, 0), 2);
  EXPECT_NE(end().reason.find("what it may not"), std::string::npos);
}

// ---- orders, questions, counters

wire::ServiceOrder next_order(int supervisor) {
  auto packet = wire::receive_packet(supervisor, wire::kMaxChannelMessage, 0);
  return wire::decode_service_order(packet.value().bytes).value();
}

TEST_F(Sessions, TerminateIsOrderedOnceAndHasADeadline) {
  open(kSoon);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  run_until([&] { return info().state == SessionState::running; });
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  EXPECT_EQ(info().state, SessionState::terminating);
  ASSERT_TRUE(table_->terminate(id_, "uid 1"));
  EXPECT_EQ(std::get<wire::TerminateOrder>(next_order(supervisor_.get())).reason, "uid 0");
  EXPECT_EQ(wire::receive_packet(supervisor_.get(), 4096, 0).error().code, EAGAIN);
  EXPECT_NE(end().reason.find("did not end its programs within 20 ms"), std::string::npos);
  EXPECT_EQ(table_->terminate(id_, "uid 0").error().code, "NoSuchSession");
}

TEST_F(Sessions, OrdersWaitForAChannelThatIsFull) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  for (uint64_t number = 0; number < QuestionTable::kMostPerSession; ++number) ask(number);
  run_until([&] { return table_->questions().list().size() == QuestionTable::kMostPerSession; });
  // Nobody reads: fill the channel with what the supervisor's end would find first.
  const std::string filler(wire::kMaxChannelMessage - 1, ' ');
  size_t fillers = 0;
  while (wire::send_packet(channel_.get(), filler, {}, true)) ++fillers;
  while (wire::send_packet(channel_.get(), "x", {}, true)) ++fillers;
  ASSERT_GT(fillers, 0U);
  for (const auto& question : table_->questions().list()) {
    auto answered = table_->answer(question.id, true, "uid 7");
    ASSERT_FALSE(answered) << "it would be lost with the service";
    EXPECT_EQ(answered.error().code, "LimitExceeded");
  }
  ASSERT_TRUE(table_->terminate(id_, "uid 7"));
  for (size_t i = 0; i < fillers; ++i) ASSERT_TRUE(wire::receive_packet(supervisor_.get(), filler.size() + 1, 0));
  EXPECT_EQ(table_->answer(table_->questions().list()[0].id, true, "uid 7").error().code, "LimitExceeded")
      << "not before the order that waits";
  run_until([&] {
    auto packet = wire::receive_packet(supervisor_.get(), wire::kMaxChannelMessage, 0);
    return packet && std::holds_alternative<wire::TerminateOrder>(wire::decode_service_order(packet->bytes).value());
  });
  for (const auto& question : table_->questions().list()) {
    ASSERT_TRUE(table_->answer(question.id, true, "uid 7"));
    EXPECT_TRUE(std::get<wire::AnswerOrder>(next_order(supervisor_.get())).allow) << "it lies in the channel at once";
  }
}

TEST_F(Sessions, AnAnswerThatNobodyHearsIsAnError) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  ask(1);
  run_until([&] { return table_->questions().list().size() == 1; });
  supervisor_.reset();
  EXPECT_EQ(table_->answer(table_->questions().list()[0].id, true, "uid 7").error().code, "NoSuchApproval");
}

TEST_F(Sessions, QuestionsAreAnsweredOnceAndGo) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  ask(5);
  ask(6);
  run_until([&] { return table_->questions().list().size() == 2; });
  const auto questions = table_->questions().list();
  EXPECT_EQ(questions[0].id.size(), 16U);
  EXPECT_NE(questions[0].id, questions[1].id);
  EXPECT_EQ(questions[0].uid, kStranger);
  ASSERT_TRUE(table_->answer(questions[0].id, false, "uid 7"));
  EXPECT_EQ(table_->answer(questions[0].id, true, "uid 7").error().code, "NoSuchApproval");
  EXPECT_EQ(table_->answer("0123456789abcdef", true, "uid 7").error().code, "NoSuchApproval");
  const auto order = std::get<wire::AnswerOrder>(next_order(supervisor_.get()));
  EXPECT_FALSE(order.allow);
  EXPECT_EQ(order.by, "uid 7");
  tell(wire::QuestionGoneReport{.question = order.question, .how = "denied"});
  tell(wire::QuestionGoneReport{.question = 99, .how = "denied"});  // long over
  run_until([&] { return table_->questions().list().size() == 1; });
  EXPECT_EQ(table_->questions().list()[0].id, questions[1].id);
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  end();
  EXPECT_TRUE(table_->questions().empty()) << "a session's questions go with it";
}

TEST_F(Sessions, AForgottenQuestionExpires) {
  open(kSoon);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  ask(1, 1);
  run_until([&] { return table_->questions().list().size() == 1; });
  run_until([&] { return table_->questions().empty(); });
}

TEST_F(Sessions, CountersGrow) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  tell(wire::CounterReport{.allowed = 3, .denied = 2, .audited = UINT64_MAX, .lost = 0});
  run_until([&] { return info().denied == 2; });
  EXPECT_EQ(info().allowed, UINT64_MAX) << "what was only audited was let through";
  tell(wire::CounterReport{.allowed = 3, .denied = 1, .audited = UINT64_MAX, .lost = 0});
  EXPECT_EQ(end().reason, "supervisor reported counters that went back");
}

// ---- floods

// Fills the channel as a supervisor could that means harm; never waits.
size_t flood(int supervisor) {
  const std::string report = wire::encode(wire::CounterReport{});
  size_t sent = 0;
  while (wire::send_packet(supervisor, report, {}, true)) ++sent;
  return sent;
}

TEST_F(Sessions, AFloodHoldsUpNobodyAndIsEnded) {
  open_running();
  UniqueFd newcomer(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  bool served = false;
  auto watched = loop_->on_io(
      newcomer.get(), EPOLLIN, [&](uint32_t) { served = true; }, EventLoop::kNewConnections);
  ASSERT_TRUE(watched);
  bool timed = false;
  auto timer = loop_->after(std::chrono::milliseconds(0), [&] { timed = true; });
  ASSERT_TRUE(timer);
  // The channel is full whenever the loop looks.
  for (int turn = 0; turn < 8 && !(served && timed); ++turn) {
    flood(supervisor_.get());
    ASSERT_TRUE(loop_->run_once(kNever));
  }
  EXPECT_TRUE(served) << "a newcomer got no turn";
  EXPECT_TRUE(timed) << "a timer got no turn";
  EXPECT_EQ(info().state, SessionState::running) << "nor was it served because the flood was over already";
  watched->reset();
  for (int turn = 0; turn < 1000 && info().state == SessionState::running; ++turn) {
    flood(supervisor_.get());
    ASSERT_TRUE(loop_->run_once(kNever));
  }
  ASSERT_NE(info().state, SessionState::running) << "it may go on for ever";
  EXPECT_NE(end().reason.find("flooded"), std::string::npos);
}

// Whoever floods while it dies is not listened to for ever.
TEST_F(Sessions, LastWordsHaveAnEnd) {
  open_running();
  if (::setsockopt(supervisor_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kHuge, sizeof kHuge) < 0) {
    GTEST_SKIP() << "needs CAP_NET_ADMIN: a queue that takes a flood at once";
  }
  ASSERT_GT(flood(supervisor_.get()), 2 * wire::kMaxReportsAtOnce);
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  siginfo_t died{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid_), &died, WEXITED | WNOWAIT), 0);
  EXPECT_NE(end().reason.find("flooded"), std::string::npos);
}

TEST_F(Sessions, WhatGatheredWhileNobodyReadIsNoFlood) {
  open(kNever);
  say(SupervisorState::ready);
  say(SupervisorState::running);
  const size_t sent = flood(supervisor_.get());
  ASSERT_GT(sent, 50U);
  tell_when_there_is_room(wire::CounterReport{.denied = 7});
  run_until([&] { return info().denied == 7; });
  EXPECT_EQ(info().state, SessionState::running);
}

// ---- what must outlive the service

TEST_F(Sessions, TheOrderToEndIsStoredBeforeItIsAnswered) {
  Manager manager;
  open_running();
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  auto [message, fds] = manager.next();
  EXPECT_EQ(message, "FDSTORE=1\nFDPOLL=0\nFDNAME=session-" + id_);
  ASSERT_EQ(fds.size(), 1U);
  auto record = read_session_record(fds[0].get());
  ASSERT_TRUE(record) << record.error().message;
  const auto& end = std::get<EndOrder>(*record);
  EXPECT_EQ(end.id, id_);
  EXPECT_EQ(end.reason, "uid 0");
  EXPECT_GT(end.deadline, std::chrono::steady_clock::now() + kNever / 2);
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  EXPECT_EQ(manager.next().first, "") << "once is enough";
}

TEST_F(Sessions, AnOrderToEndThatIsNotStoredIsGivenAndAnError) {
  Manager manager;
  open_running();
  manager.fill();
  auto ended = table_->terminate(id_, "uid 0");
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, "Internal");
  EXPECT_EQ(info().state, SessionState::terminating);
  EXPECT_TRUE(std::holds_alternative<wire::TerminateOrder>(next_order(supervisor_.get())));
  manager.drain();
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  EXPECT_EQ(manager.next().second.size(), 1U);
  EXPECT_FALSE(wire::receive_packet(supervisor_.get(), 4096, 0)) << "ordered once";
}

TEST_F(Sessions, WhatWasToldToEndIsNotForgottenOnItsWord) {
  Manager manager;
  open_running();
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  manager.drain();
  say(SupervisorState::finished);
  run_until([&] { return info().state == SessionState::closing; });
  EXPECT_EQ(manager.next().first, "") << "it is still there";
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  run_until([&] { return table_->size() == 0; });
  EXPECT_EQ(manager.next().first, "FDSTOREREMOVE=1\nFDNAME=session-" + id_);
  EXPECT_TRUE(events_.empty()) << "the supervisor had recorded the end";
}

TEST_F(Sessions, WhatWasToldToEndIsToldAgainAfterARestart) {
  open(kNever);
  find_again(kNever, EndOrder{.id = id_, .reason = "uid 0", .deadline = {}});
  EXPECT_EQ(info().state, SessionState::terminating);
  EXPECT_TRUE(std::holds_alternative<wire::ReportOrder>(next_order(supervisor_.get())));
  EXPECT_EQ(std::get<wire::TerminateOrder>(next_order(supervisor_.get())).reason, "uid 0");
  // It says nothing, and its time was over before.
  EXPECT_NE(end().reason.find("did not end its programs"), std::string::npos);
}

TEST_F(Sessions, NothingThatItSaysPutsTheEndOff) {
  open(kNever);
  ASSERT_TRUE(table_->terminate(id_, "uid 0"));
  find_again(kNever, EndOrder{.id = id_, .reason = "x", .deadline = std::chrono::steady_clock::now() + kSoon});
  say(SupervisorState::ready);
  say(SupervisorState::running);
  say(SupervisorState::terminating);
  EXPECT_NE(end().reason.find("did not end its programs"), std::string::npos);
}

TEST_F(Sessions, ASupervisorThatSaysItIsEndingHasADeadlineAfterARestart) {
  open(kNever);
  find_again(kSoon, std::nullopt);
  say(SupervisorState::terminating);
  EXPECT_NE(end().reason.find("did not end its programs"), std::string::npos);
}

TEST_F(Sessions, WhatWasSaidInTimeCountsAlsoIfItIsReadLate) {
  open(std::chrono::milliseconds(0));  // the timer is due when the loop looks for the first time
  say(SupervisorState::ready);
  say(SupervisorState::running);
  run_until([&] { return info().state == SessionState::running; });
}

TEST_F(Sessions, StalenessIsThatOfThePolicyInForce) {
  open(kNever);
  EXPECT_FALSE(info().stale);
  table_->refresh_staleness([](std::string_view policy, std::string_view) { return policy == "p"; });
  EXPECT_TRUE(info().stale);
  table_->refresh_staleness([](std::string_view, std::string_view) { return false; });
  EXPECT_FALSE(info().stale);
}

TEST_F(Sessions, TheTablesEndTouchesNobody) {
  open(kNever);
  table_.reset();
  EXPECT_FALSE(sockets_gone());
  EXPECT_EQ(::kill(pid_, 0), 0);
  ASSERT_EQ(::kill(pid_, SIGKILL), 0);
  ASSERT_EQ(::waitpid(pid_, nullptr, 0), pid_);
}

}  // namespace
}  // namespace wrapd::daemon
