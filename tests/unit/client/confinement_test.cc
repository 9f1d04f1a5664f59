// SPDX-License-Identifier: Apache-2.0
// Landlock and launch, against the real kernel. Each test does its work in a process of its own, as neither can be
// undone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "client/wrap/confine/landlock.h"
#include "client/wrap/confine/steps.h"
#include "client/wrap/exec_plan.h"
#include "client/wrap/launch.h"
#include "kernel/uapi.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::client {
namespace {

namespace stdfs = std::filesystem;
using ::testing::HasSubstr;

// Runs `body` in a child and returns its exit status.
int in_child(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct Directory {
  test::TemporaryDirectory temporary;
  stdfs::path path = temporary.path();
};

bool enter(const Domain& domain) {
  const Confined confined{.landlock_ruleset = domain.ruleset.get()};
  int listener = -1;
  return kNoNewPrivs.take(confined, listener) == 0 && kLandlock.take(confined, listener) == 0;
}

TEST(LandlockTest, MissingScopesAreAnErrorUnlessThePolicyBearsThem) {
  for (int abi : {0, 1}) {
    for (bool monitor : {false, true}) {
      auto none = make_domain({.monitor_unsupported = monitor}, abi);
      ASSERT_FALSE(none) << "no policy bears a program without a domain";
      EXPECT_THAT(none.error().message, HasSubstr("lsm=landlock"));
    }
  }
  for (int abi = 2; abi < 6; ++abi) {
    auto refused = make_domain({}, abi);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("on_unsupported: monitor"));
    auto borne = make_domain({.monitor_unsupported = true}, abi);
    ASSERT_TRUE(borne) << borne.error().message;
    EXPECT_TRUE(borne->notice);
    EXPECT_TRUE(borne->ruleset.valid());
  }
}

TEST(LandlockTest, BareDomainLeavesFilesAlone) {
  if (landlock_abi() < 2) GTEST_SKIP() << "no Landlock with REFER";
  Directory directory;
  stdfs::create_directory(directory.path / "a");
  stdfs::create_directory(directory.path / "b");
  std::ofstream(directory.path / "a" / "f") << "x";
  EXPECT_EQ(in_child([&] {
              auto domain = make_domain({.monitor_unsupported = true}, 5);
              if (!domain || !enter(*domain)) return 1;
              stdfs::path moved = directory.path / "b" / "f";
              if (::rename((directory.path / "a" / "f").c_str(), moved.c_str()) != 0) return 2;
              if (::link(moved.c_str(), (directory.path / "a" / "g").c_str()) != 0) return 3;
              if (::mkdir((directory.path / "a" / "d").c_str(), 0700) != 0) return 4;
              if (::unlink(moved.c_str()) != 0) return 5;
              return 0;
            }),
            0);
}

// What the domain is there for, with and without scopes: the memory of a process outside is out of reach.
TEST(LandlockTest, DomainKeepsOutOfOtherProcesses) {
  if (landlock_abi() < 2) GTEST_SKIP() << "no Landlock with REFER";
  const std::string memory = "/proc/" + std::to_string(::getpid()) + "/mem";
  auto open_memory = [&] { return ::open(memory.c_str(), O_RDONLY | O_CLOEXEC) >= 0 ? 7 : 0; };
  ASSERT_EQ(in_child(open_memory), 7) << "without a domain it must be in reach, or this test shows nothing";
  for (int abi : {5, landlock_abi()}) {
    EXPECT_EQ(in_child([&] {
                auto domain = make_domain({.monitor_unsupported = true}, abi);
                if (!domain || !enter(*domain)) return 1;
                return open_memory();
              }),
              0)
        << abi;
  }
}

TEST(LandlockTest, SignalsStayInside) {
  if (landlock_abi() < 6) GTEST_SKIP() << "no Landlock scopes";
  EXPECT_EQ(in_child([&] {
              auto domain = make_domain({}, landlock_abi());
              if (!domain || !enter(*domain)) return 1;
              if (::kill(::getppid(), 0) == 0 || errno != EPERM) return 2;
              return ::kill(::getpid(), 0) == 0 ? 0 : 3;
            }),
            0);
}

constexpr sock_filter kAllowAll[] = {{0x06, 0, 0, SECCOMP_RET_ALLOW}};

class LaunchTest : public ::testing::Test {
 protected:
  LaunchTest() : marker_(directory_.path / "ran") {
    word_ = "touch " + marker_.string();
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  std::vector<char*> command() {
    static char shell[] = "/bin/sh";
    static char flag[] = "-c";
    return {shell, flag, word_.data()};
  }
  Directory directory_;
  stdfs::path marker_;
  std::string word_;
  InheritedSignals signals_;
};

TEST_F(LaunchTest, RunsOnlyWhenLetGo) {
  ExecPlan exec(command(), nullptr, environ);
  {
    auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
    ASSERT_TRUE(launch) << launch.error().message;
    EXPECT_TRUE(launch->take_listener().valid());
  }
  EXPECT_FALSE(stdfs::exists(marker_)) << "abandoned, it must not have run";

  auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
  ASSERT_TRUE(launch) << launch.error().message;
  UniqueFd listener = launch->take_listener();
  EXPECT_FALSE(stdfs::exists(marker_));
  launch->go();
  int status = -1;
  ASSERT_EQ(::waitpid(launch->pid(), &status, 0), launch->pid());
  EXPECT_EQ(status, 0);
  EXPECT_EQ(launch->exec_error(), 0);
  EXPECT_FALSE(launch->failure());
  EXPECT_TRUE(stdfs::exists(marker_));
}

TEST_F(LaunchTest, GivesUpWhenNobodySaysGo) {
  ExecPlan exec(command(), nullptr, environ);
  auto launch = Launch::start({.exec = &exec,
                               .signals = &signals_,
                               .confined = {.filter = kAllowAll},
                               .timeout = std::chrono::milliseconds(500)});
  ASSERT_TRUE(launch) << launch.error().message;
  pollfd polled{launch->pidfd(), POLLIN, 0};
  ASSERT_EQ(::poll(&polled, 1, 20000), 1) << "the child waits for ever";
  EXPECT_THAT(launch->failure().value_or(""), HasSubstr("did not acknowledge in time"));
  EXPECT_FALSE(stdfs::exists(marker_));
}

TEST_F(LaunchTest, DiesWithItsParent) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  pid_t parent = ::fork();
  if (parent == 0) {
    ExecPlan exec(command(), nullptr, environ);
    auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
    pid_t pid = launch ? launch->pid() : -1;
    if (::write(fds[1], &pid, sizeof pid) != sizeof pid) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  pid_t pid = -1;
  ASSERT_EQ(::read(fds[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  ASSERT_GT(pid, 0);
  ASSERT_EQ(::waitpid(parent, nullptr, 0), parent);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid) << "we are its subreaper";
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_FALSE(stdfs::exists(marker_));
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(LaunchTest, ASecondSupervisorIsSaidClearly) {
  EXPECT_EQ(in_child([&] {
              ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
              sock_fprog program{1, const_cast<sock_filter*>(kAllowAll)};
              if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) < 0)
                return 1;
              ExecPlan exec(command(), nullptr, environ);
              auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
              if (launch) return 2;
              return launch.error().message.find("another supervisor is above us") != std::string::npos ? 0 : 3;
            }),
            0);
  EXPECT_FALSE(stdfs::exists(marker_));
}

// A kernel without user notification, or a container whose filter refuses seccomp(2), played by a filter above us.
TEST_F(LaunchTest, AKernelWithoutNotificationRunsNothing) {
  for (int refusal : {ENOSYS, EINVAL, EPERM}) {
    EXPECT_EQ(in_child([&] {
                const sock_filter kRefuse[] = {
                    {0x20, 0, 0, offsetof(seccomp_data, nr)},
                    {0x15, 0, 1, SYS_seccomp},
                    {0x06, 0, 0, SECCOMP_RET_ERRNO | static_cast<uint32_t>(refusal)},
                    {0x06, 0, 0, SECCOMP_RET_ALLOW},
                };
                ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                sock_fprog program{4, const_cast<sock_filter*>(kRefuse)};
                if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) return 1;
                ExecPlan exec(command(), nullptr, environ);
                auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
                if (launch) return 2;
                const std::string& message = launch.error().message;
                if (message.find("cannot install the seccomp filter") == std::string::npos) return 3;
                return refusal == EPERM || message.find("5.19") != std::string::npos ? 0 : 4;
              }),
              0)
        << refusal;
    EXPECT_FALSE(stdfs::exists(marker_));
  }
}

TEST_F(LaunchTest, AFilterThatTheKernelRefusesIsAnError) {
  ExecPlan exec(command(), nullptr, environ);
  constexpr sock_filter kNoReturn[] = {{0x20, 0, 0, 0}};
  auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kNoReturn}});
  ASSERT_FALSE(launch);
  EXPECT_THAT(launch.error().message, HasSubstr("cannot install the seccomp filter"));
}

TEST_F(LaunchTest, ReportsWhyCmdCouldNotBeExecuted) {
  static char missing[] = "/no/such/program";
  ExecPlan exec({missing}, nullptr, environ);
  auto launch = Launch::start({.exec = &exec, .signals = &signals_, .confined = {.filter = kAllowAll}});
  ASSERT_TRUE(launch) << launch.error().message;
  UniqueFd listener = launch->take_listener();
  launch->go();
  int status = 0;
  ASSERT_EQ(::waitpid(launch->pid(), &status, 0), launch->pid());
  EXPECT_EQ(launch->exec_error(), ENOENT);
}

// The dispositions and the mask that wrap was started with reach CMD, not those that wrap has for itself.
TEST_F(LaunchTest, CmdGetsTheInheritedSignals) {
  stdfs::path out = directory_.path / "status";
  word_ = "grep -E '^Sig(Ign|Blk)' /proc/self/status > " + out.string();
  auto run = [&](const std::function<void()>& before) {
    EXPECT_EQ(in_child([&] {
                struct sigaction ignore {};
                ignore.sa_handler = SIG_IGN;
                ::sigaction(SIGQUIT, &ignore, nullptr);
                ::sigaction(SIGCHLD, &ignore, nullptr);
                sigset_t set;
                ::sigemptyset(&set);
                ::sigaddset(&set, SIGUSR2);
                ::sigprocmask(SIG_BLOCK, &set, nullptr);
                before();
                return 0;
              }),
              0);
    std::ifstream file(out);
    std::string text(std::istreambuf_iterator<char>(file), {});
    return text;
  };
  std::string native = run([&] {
    std::vector<char*> argv = command();
    argv.push_back(nullptr);
    if (::fork() == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(99);
    }
    while (::wait(nullptr) > 0) {
    }
  });
  stdfs::remove(out);
  std::string wrapped = run([&] {
    InheritedSignals signals;
    signals.change(SIGCHLD, SIG_DFL);
    signals.change(SIGPIPE, SIG_IGN);
    sigset_t all = watched_signals();
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    ExecPlan exec(command(), nullptr, environ);
    auto launch = Launch::start({.exec = &exec, .signals = &signals, .confined = {.filter = kAllowAll}});
    if (!launch) ::_exit(1);
    UniqueFd listener = launch->take_listener();
    launch->go();
    ::waitpid(launch->pid(), nullptr, 0);
  });
  EXPECT_THAT(native, HasSubstr("SigIgn"));
  EXPECT_EQ(wrapped, native);
}

TEST(DescriptorTest, ClosedStandardDescriptorsAreNotReused) {
  EXPECT_EQ(in_child([] {
              ::close(0);
              ::close(2);
              if (!guard_descriptors({})) return 1;
              UniqueFd next(::open("/dev/null", O_RDONLY));
              if (next.get() <= 2) return 2;
              // CMD finds them closed.
              if (::fcntl(0, F_GETFD) != FD_CLOEXEC || ::fcntl(2, F_GETFD) != FD_CLOEXEC) return 3;
              return (::fcntl(1, F_GETFD) & FD_CLOEXEC) == 0 ? 0 : 4;
            }),
            0);
}

TEST(DescriptorTest, NamesADescriptorThatIsNotOpen) {
  const int wanted[] = {987};
  auto guarded = guard_descriptors(wanted);
  ASSERT_FALSE(guarded);
  EXPECT_THAT(guarded.error().message, HasSubstr("descriptor 987 is not open"));
}

}  // namespace
}  // namespace wrapd::client
