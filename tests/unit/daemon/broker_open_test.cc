// SPDX-License-Identifier: Apache-2.0

// Sessions that are asked for with a socket of the caller's own (Broker::open). The caller is a process of another uid;
// its supervisor is one that never reads.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <fstream>
#include <optional>

#include "audit/sink.h"
#include "daemon/broker.h"
#include "policy/load.h"
#include "tests/unit/daemon/temporary_directory.h"
#include "wire/packet.h"

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
    disposal_ = std::move(Disposal::create(*loop_).value());
    users_ = std::move(UserDirectory::create(*loop_).value());
    runtime_ = RuntimeDirectory::open(top_.path() + "/run").value();
    sessions_ = std::make_unique<SessionTable>(*loop_, *journal_, *store_, SessionTable::Deadlines{});
    sessions_->observe(nullptr);
    const std::string supervisor = top_.path() + "/supervisor";
    std::ofstream(supervisor) << "#!/bin/sh\nexec cat <&3\n";
    ASSERT_EQ(::chmod(supervisor.c_str(), 0755), 0);
    auto catalogue = std::make_shared<Catalogue>();
    catalogue->config = policy::default_service_config();
    catalogue->config.pending_per_user = 2;
    auto policy = std::make_shared<CataloguePolicy>();
    policy->policy = policy::load_policy("version: 1\nname: default\nunix_socket_rules: []\n", "default").value();
    policy->digest = std::string(64, '0');
    catalogue->policies["default"] = policy;
    UniqueFd control(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::listen(control.get(), 1), -1);  // nobody connects here
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_EQ(::bind(control.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::listen(control.get(), 1), 0);
    broker_ = std::move(Broker::create({.loop = *loop_,
                                        .journal = *journal_,
                                        .disposal = *disposal_,
                                        .users = *users_,
                                        .sessions = *sessions_,
                                        .store = *store_,
                                        .runtime = runtime_},
                                       {.control = std::move(control),
                                        .supervisor = supervisor,
                                        .supervisor_ids = {.uid = kStranger, .gid = kStranger},
                                        .catalogue = catalogue,
                                        .on_newcomer = [] {}})
                            .value());
  }
  void TearDown() override {
    for (pid_t pid : callers_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  // A process of another uid that makes a pair and gives us one end.
  struct Caller {
    PeerCredentials credentials;
    UniqueFd socket;
  };
  Caller caller(int type = SOCK_SEQPACKET, bool confined = false, bool pair = true) {
    int link[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link), 0);
    UniqueFd ours(link[0]);
    UniqueFd theirs(link[1]);
    const pid_t pid = ::fork();
    if (pid == 0) {
      int ends[2];
      bool good = ::setgroups(0, nullptr) == 0 && ::setresgid(kStranger, kStranger, kStranger) == 0 &&
                  ::setresuid(kStranger, kStranger, kStranger) == 0;
      good = good && (!confined || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
      good = good && (pair ? ::socketpair(AF_UNIX, type, 0, ends) == 0 : (ends[0] = ::socket(AF_UNIX, type, 0)) >= 0);
      good = good && wire::send_packet(theirs.get(), "x", {ends, 1}, false);
      if (good) {
        for (;;) ::pause();
      }
      ::_exit(1);
    }
    callers_.push_back(pid);
    theirs.reset();
    EXPECT_EQ(::fcntl(ours.get(), F_GETFL) & O_NONBLOCK, 0);
    pollfd polled{.fd = ours.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&polled, 1, 20'000), 1);
    auto packet = wire::receive_packet(ours.get(), 1, 1);
    Caller out{.credentials = {.pid = pid, .uid = kStranger, .gid = kStranger, .groups = {}}, .socket = {}};
    out.socket = std::move(packet.value().fds.at(0));
    return out;
  }

  ApiResult<std::string> open(Caller caller, const std::string& cwd = "/") {
    std::optional<ApiResult<std::string>> answer;
    broker_->open(std::move(caller.socket), {.command = "true", .cwd = cwd}, {}, caller.credentials,
                  [&](ApiResult<std::string> given) { answer = std::move(given); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!answer && std::chrono::steady_clock::now() < deadline) {
      EXPECT_TRUE(loop_->run_once(std::chrono::milliseconds(100)));
    }
    EXPECT_TRUE(broker_->idle());
    return answer.value();
  }

  TemporaryDirectory top_;
  std::vector<pid_t> callers_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<FdStore> store_;
  std::unique_ptr<Disposal> disposal_;
  std::unique_ptr<UserDirectory> users_;
  RuntimeDirectory runtime_;
  std::unique_ptr<SessionTable> sessions_;
  std::unique_ptr<Broker> broker_;
};

TEST_F(BrokerOpen, TheCallersOwnPairIsASession) {
  Caller one = caller();
  UniqueFd kept(::fcntl(one.socket.get(), F_DUPFD_CLOEXEC, 3));
  auto id = open(std::move(one));
  ASSERT_TRUE(id) << id.error().message;
  auto info = sessions_->find(*id);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->uid, kStranger);
  EXPECT_NE(::fcntl(kept.get(), F_GETFL) & O_NONBLOCK, 0) << "it could block the service";
}

TEST_F(BrokerOpen, SomebodyElsesPairIsNot) {
  Caller other_uid = caller();
  other_uid.credentials.uid = kStranger + 1;
  EXPECT_EQ(open(std::move(other_uid)).error().code, "NotPermitted");
  Caller other_process = caller();
  other_process.credentials.pid = ::getpid();
  EXPECT_EQ(open(std::move(other_process)).error().code, "NotPermitted");
  Caller ours = caller();
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd far(pair[1]);
  ours.socket.reset(pair[0]);  // root's: who passes it on would be served as root
  EXPECT_EQ(open(std::move(ours)).error().code, "NotPermitted");
  EXPECT_EQ(sessions_->size(), 0U);
}

TEST_F(BrokerOpen, WhatIsNoPairIsRefused) {
  EXPECT_EQ(open(caller(SOCK_STREAM)).error().code, "InvalidArgument");
  EXPECT_EQ(open(caller(SOCK_SEQPACKET, false, false)).error().code, "InvalidArgument");
  Caller file = caller();
  file.socket.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(open(std::move(file)).error().code, "InvalidArgument");
  EXPECT_EQ(sessions_->size(), 0U);
}

TEST_F(BrokerOpen, TheSameRulesHoldAsOnTheControlSocket) {
  EXPECT_EQ(open(caller(SOCK_SEQPACKET, true)).error().code, "Confined");
  EXPECT_EQ(open(caller(), "not/absolute").error().code, "InvalidArgument");
  EXPECT_EQ(sessions_->size(), 0U);
}

}  // namespace
}  // namespace wrapd::daemon
