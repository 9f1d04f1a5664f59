// SPDX-License-Identifier: Apache-2.0

// The real wrap-compile, started as the service starts it; and shell scripts in its place that misbehave.

#include "daemon/policy_checker.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "base/io.h"
#include "tests/lib/temporary_directory.h"
#include "tests/unit/daemon/users.h"

namespace wrapd::daemon {
namespace {

using Answer = ApiResult<std::vector<std::string>>;

class Checker : public ::testing::Test {
 protected:
  void SetUp() override {
    WRAPD_NEEDS_ROOT();
    auto loop = EventLoop::create();
    ASSERT_TRUE(loop);
    loop_ = std::make_unique<EventLoop>(std::move(*loop));
  }

  // A program in wrap-compile's place.
  std::string script(const std::string& commands) {
    const std::string path = top_.path() + "/script";
    std::ofstream(path) << "#!/bin/sh\n" << commands << "\n";
    EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
    EXPECT_EQ(::chmod(top_.path().c_str(), 0755), 0);
    return path;
  }
  Answer check(std::string_view text, const std::string& program = WRAPD_TEST_WRAP_COMPILE) {
    PolicyChecker checker(*loop_, program);
    std::optional<Answer> answer;
    checker.check({.pid = 1, .uid = kStranger, .gid = kStranger, .groups = {}}, kStranger, text,
                  [&](Answer given) { answer = std::move(given); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!answer && std::chrono::steady_clock::now() < deadline) {
      EXPECT_TRUE(loop_->run_once(std::chrono::milliseconds(100)));
    }
    EXPECT_TRUE(checker.idle());
    return answer.value();
  }

  test::TemporaryDirectory top_;
  std::unique_ptr<EventLoop> loop_;
};

TEST_F(Checker, NothingIsWrong) {
  auto answer = check("version: 1\nname: mine\n");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(answer->empty());
}

TEST_F(Checker, SaysWhatIsWrong) {
  auto answer = check("version: 1\nname: mine\nsurprise: 1\n");
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->size(), 1U);
  EXPECT_TRUE(answer->front().starts_with("policy:3:1: ")) << answer->front();
}

// Its answer does not fit into the pipe, so that it stands still after it has read: then it is looked at.
TEST_F(Checker, TheReaderHasGivenUpEverything) {
  int answer[2];
  ASSERT_EQ(::pipe2(answer, O_CLOEXEC), 0);
  UniqueFd reading(answer[0]);
  UniqueFd writing(answer[1]);
  const int size = ::fcntl(writing.get(), F_GETPIPE_SZ);
  ASSERT_TRUE(write_all(writing.get(), std::string(static_cast<size_t>(size), ' ')));
  constexpr std::string_view kText = "version: 2\n";
  auto input = sealed_memfd("policy", std::as_bytes(std::span(kText)));
  ASSERT_TRUE(input);
  const pid_t pid = ::fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    const gid_t groups[] = {kStranger + 1};
    if (::setgroups(1, groups) < 0 || ::dup2(input->get(), 0) < 0 || ::dup2(writing.get(), 1) < 0) ::_exit(99);
    ::execl(WRAPD_TEST_WRAP_COMPILE, "wrap-compile", "--check", "--become", "64003:64004", nullptr);
    ::_exit(99);
  }
  const std::string proc = "/proc/" + std::to_string(pid);
  std::string where;
  while (where.find("pipe_write") == std::string::npos) {  // it has no other way to go
    where = read_file(proc + "/wchan", 4096).value_or("");
    ASSERT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "it ended: " << where;
  }
  const std::string status = read_file(proc + "/status", 65536).value();
  for (const char* line : {"Uid:\t64003\t64003\t64003\t64003\n", "Gid:\t64004\t64004\t64004\t64004\n", "Groups:\t \n",
                           "CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n",
                           "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n"}) {
    EXPECT_NE(status.find(line), std::string::npos) << line << status;
  }
  std::istringstream limits(read_file(proc + "/limits", 65536).value());
  std::map<std::string, std::string> seen;  // name, which is padded to a column -> soft and hard limit
  for (std::string line; std::getline(limits, line);) {
    std::istringstream numbers(line.substr(26));
    std::string soft;
    std::string hard;
    numbers >> soft >> hard;
    seen[line.substr(0, line.find("  "))] = soft + " " + hard;
  }
  for (auto [name, limit] : {std::pair{"Max cpu time", "4 4"},
                             {"Max file size", "65536 65536"},
                             {"Max open files", "8 8"},
                             {"Max processes", "0 0"},
                             {"Max core file size", "0 0"}}) {
    EXPECT_EQ(seen[name], limit) << name;
  }
#if !defined(__SANITIZE_ADDRESS__)  // which takes terabytes of it
  EXPECT_EQ(seen["Max address space"], "536870912 536870912");
#endif
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST_F(Checker, RootReadsNothingAsRoot) {
  auto answer = check("version: 1\nname: x\n", script("exec " WRAPD_TEST_WRAP_COMPILE " --check"));
  ASSERT_FALSE(answer);
}

TEST_F(Checker, NothingAndTooMuchAreRefused) {
  EXPECT_EQ(check("").error().code, "InvalidArgument");
  EXPECT_EQ(check(std::string(PolicyChecker::kMaxText + 1, ' ')).error().code, "InvalidArgument");
}

TEST_F(Checker, WhatNeverEndsIsKilled) {
  auto answer = check("x", script("while :; do :; done"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "LimitExceeded");
}

TEST_F(Checker, OutputIsBoundedAndEscaped) {
  auto answer = check("x", script("printf 'a\\033[31m\\n'; head -c 1000000 /dev/zero; exit 1"));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->front(), "a\\x1b[31m");
  EXPECT_LE(answer->back().size(), 4096U + 16);
}

TEST_F(Checker, NoProgramIsAnError) {
  EXPECT_EQ(check("x", "/nonexistent").error().code, "Internal");
}

TEST_F(Checker, AFewAtOncePerUser) {
  PolicyChecker checker(*loop_, script("while :; do :; done"));
  const PeerCredentials one{.pid = 1, .uid = kStranger, .gid = kStranger, .groups = {}};
  size_t refused = 0;
  for (size_t i = 0; i < PolicyChecker::kMostPerUser + 1; ++i) {
    checker.check(one, kStranger, "x", [&](const Answer& answer) {
      ASSERT_FALSE(answer);
      EXPECT_EQ(answer.error().code, "LimitExceeded");
      ++refused;
    });
  }
  EXPECT_EQ(refused, 1U);
}

// Whoever comes with many ids is one user, and many users leave each other one.
TEST_F(Checker, NobodyUsesUpWhatIsThereForAll) {
  PolicyChecker checker(*loop_, script("while :; do sleep 1; done"));
  size_t refused = 0;
  const auto start = [&](uid_t uid, uint64_t user) {
    const size_t before = refused;
    checker.check({.pid = 1, .uid = uid, .gid = kStranger, .groups = {}}, user, "x", [&](const Answer& answer) {
      ASSERT_FALSE(answer);
      EXPECT_EQ(answer.error().code, "LimitExceeded");
      ++refused;
    });
    return refused == before;
  };
  constexpr uint64_t kOwner = uint64_t{1} << 32;
  size_t started = 0;
  for (uid_t i = 0; i < 8; ++i) started += start(kStranger + i, kOwner) ? 1U : 0U;
  EXPECT_EQ(started, PolicyChecker::kMostPerUser);
  for (uint64_t user = 1000; started < PolicyChecker::kMost; ++user) started += start(kStranger, user) ? 1U : 0U;
  EXPECT_TRUE(start(kStranger, 2000));
  EXPECT_FALSE(start(kStranger, 2000));
}

}  // namespace
}  // namespace wrapd::daemon
