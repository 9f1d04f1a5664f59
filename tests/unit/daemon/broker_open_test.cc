// SPDX-License-Identifier: Apache-2.0

// Sessions that are asked for over the bus (Broker::open). The caller is a process of another uid; its supervisor is
// one that never answers.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <fstream>
#include <optional>

#include "audit/sink.h"
#include "daemon/broker.h"
#include "daemon/call_shares.h"
#include "policyfile/load.h"
#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

class Drop final : public audit::Sink {
  Result<> write(const audit::Event&) override { return {}; }
};

class BrokerOpen : public ::testing::Test {
 protected:
  void SetUp() override {
    WRAPD_NEEDS_ROOT();
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop);
    loop_ = std::make_unique<EventLoop>(std::move(*loop));
    journal_ = std::make_unique<Journal>(*loop_, std::make_unique<Drop>());
    store_ = std::make_unique<FdStore>(*loop_, 0);
    users_ = std::move(UserDirectory::create(*loop_).value());
    runtime_ = RuntimeDirectory::open(top_.path() + "/run").value();
    sessions_ = std::make_unique<SessionTable>(*loop_, *journal_, *store_, SessionTable::Deadlines{});
    sessions_->observe(nullptr);
    const std::string supervisor = top_.path() + "/supervisor";
    // What it is sent, it reads when the test lets it: cat(1) then closes the descriptors that came along.
    std::ofstream(supervisor) << "#!/bin/sh\nwhile [ ! -e \"$0.go\" ]; do sleep 0.01; done\nexec cat <&3\n";
    ASSERT_EQ(::chmod(supervisor.c_str(), 0755), 0);
    auto catalogue = std::make_shared<Catalogue>();
    catalogue->config = policyfile::default_service_config();
    catalogue->config.access.front().everybody = true;  // nobody has an account with the callers' uid
    catalogue->config.pending_per_user = 2;
    auto policy = std::make_shared<CataloguePolicy>();
    policy->policy = policyfile::load_policy("version: 1\nname: default\nunix_socket_rules: []\n", "default").value();
    policy->digest = std::string(16, '0');
    catalogue->policies["default"] = policy;
    UniqueFd control(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::listen(control.get(), 1), -1);  // nobody connects here
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_EQ(::bind(control.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::listen(control.get(), 1), 0);
    // Nobody connects: there is nothing to keep, and the program of a keeper only has to be there.
    closer_ = std::move(ConnectionCloser::create(*loop_, "/bin/false", control.get()).value());
    broker_ = std::move(Broker::create({.loop = *loop_,
                                        .journal = *journal_,
                                        .closer = *closer_,
                                        .users = *users_,
                                        .sessions = *sessions_,
                                        .store = *store_,
                                        .runtime = runtime_},
                                       {.control = std::move(control),
                                        .supervisor = supervisor,
                                        .supervisor_ids = {.uid = kStranger, .gid = kStranger},
                                        .catalogue = catalogue,
                                        .subordinate_ids = std::make_shared<SubordinateIds>(),
                                        .on_connection = [] {}})
                            .value());
  }
  void TearDown() override {
    for (pid_t pid : callers_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  // A process of another uid.
  struct Caller {
    PeerCredentials credentials;
    UniqueFd pidfd;
  };
  Caller caller(bool confined = false) {
    int link[2];
    EXPECT_EQ(::pipe2(link, O_CLOEXEC), 0);
    UniqueFd reading(link[0]);
    UniqueFd writing(link[1]);
    const pid_t pid = ::fork();
    if (pid == 0) {
      bool good = ::setgroups(0, nullptr) == 0 && ::setresgid(kStranger, kStranger, kStranger) == 0 &&
                  ::setresuid(kStranger, kStranger, kStranger) == 0;
      good = good && (!confined || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
      good = good && ::write(writing.get(), "x", 1) == 1;
      if (good) {
        for (;;) ::pause();
      }
      ::_exit(1);
    }
    callers_.push_back(pid);
    writing.reset();
    char byte = 0;
    EXPECT_EQ(::read(reading.get(), &byte, 1), 1);
    return {.credentials = {.pid = pid, .uid = kStranger, .gid = kStranger, .groups = {}}, .pidfd = open_pidfd(pid)};
  }
  static UniqueFd open_pidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

  ApiResult<OpenedSession> open(Caller caller, const std::string& cwd = "/") {
    std::optional<ApiResult<OpenedSession>> answer;
    broker_->open({.command = "true", .cwd = cwd}, caller.credentials, std::move(caller.pidfd),
                  [&](ApiResult<OpenedSession> given) { answer = std::move(given); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!answer && std::chrono::steady_clock::now() < deadline) {
      EXPECT_TRUE(loop_->run_once(std::chrono::milliseconds(100)));
    }
    EXPECT_TRUE(broker_->idle());
    return std::move(*answer);
  }

  test::TemporaryDirectory top_;
  std::vector<pid_t> callers_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<FdStore> store_;
  std::unique_ptr<ConnectionCloser> closer_;
  std::unique_ptr<UserDirectory> users_;
  RuntimeDirectory runtime_;
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<Broker> broker_;
};

TEST_F(BrokerOpen, TheAnswerBringsTheOtherEnd) {
  auto opened = open(caller());
  ASSERT_TRUE(opened) << opened.error().message;
  auto info = sessions_->find(opened->id);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->uid, kStranger);
  EXPECT_EQ(::fcntl(opened->connection.get(), F_GETFL) & O_NONBLOCK, 0);
  // The supervisor's copy of our end is the only one: it is gone when that ends.
  pollfd polled{.fd = opened->connection.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&polled, 1, 0), 0);
  std::ofstream go(top_.path() + "/supervisor.go");
  ASSERT_TRUE(sessions_->terminate(opened->id, "uid 0"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (::poll(&polled, 1, 0) == 0 && std::chrono::steady_clock::now() < deadline) {
    ASSERT_TRUE(loop_->run_once(std::chrono::milliseconds(100)));
  }
  EXPECT_NE(polled.revents & POLLHUP, 0);
}

TEST_F(BrokerOpen, AnotherProcessThanThePidfdsIsNot) {
  Caller other_uid = caller();
  other_uid.credentials.uid = kStranger + 1;
  EXPECT_EQ(open(std::move(other_uid)).error().code, "Confined");
  Caller gone = caller();
  ::kill(gone.credentials.pid, SIGKILL);
  ASSERT_EQ(::waitpid(gone.credentials.pid, nullptr, 0), gone.credentials.pid);
  callers_.pop_back();
  EXPECT_EQ(open(std::move(gone)).error().code, "Confined");
  EXPECT_EQ(sessions_->size(), 0U);
}

TEST_F(BrokerOpen, TheSameRulesHoldAsOnTheControlSocket) {
  EXPECT_EQ(open(caller(true)).error().code, "Confined");
  EXPECT_EQ(open(caller(), "not/absolute").error().code, "InvalidArgument");
  EXPECT_EQ(sessions_->size(), 0U);
}

TEST_F(BrokerOpen, TheSessionsOfAUserShareItsWaitingCalls) {
  size_t before = 0;
  size_t share = CallShares::kMost;
  for (int i = 0; i < 12; ++i) {
    auto opened = open(caller());
    ASSERT_TRUE(opened) << opened.error().message;
    const size_t now = sessions_->calls().of(kStranger);
    EXPECT_GE(now - before, CallShares::kFew);
    EXPECT_LE(now - before, share);
    share = now - before;
    before = now;
    EXPECT_LE(now, CallShares::kPerUser);
  }
  EXPECT_LT(share, CallShares::kMost / 8);
  for (const SessionInfo& session : sessions_->list()) ASSERT_TRUE(sessions_->terminate(session.id, "uid 0"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (sessions_->calls().total() > 0 && std::chrono::steady_clock::now() < deadline) {
    EXPECT_TRUE(loop_->run_once(std::chrono::milliseconds(100)));
  }
  EXPECT_EQ(sessions_->calls().total(), 0U);
}

}  // namespace
}  // namespace wrapd::daemon
