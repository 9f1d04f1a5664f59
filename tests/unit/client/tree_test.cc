// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrap/event_log.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::client {
namespace {

// The ancestor is a process of its own: everything below the caller is killed. Its subtree holds a pipe open; the
// pipe's end tells that all of it is gone.
void expect_killed(void (*grow)(int ready)) {
  int alive[2];
  int ready[2];
  ASSERT_EQ(::pipe2(alive, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t ancestor = ::fork();
  if (ancestor == 0) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ::close(ready[0]);
    if (::fork() == 0) {
      grow(ready[1]);
      ::_exit(0);
    }
    ::close(ready[1]);
    ::close(alive[1]);
    char byte = 0;
    if (::read(alive[0], &byte, 1) != 1) ::_exit(3);  // the tree is grown
    size_t left = kill_descendants(std::chrono::seconds(20));
    ::_exit(left == 0 && ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD ? 0 : 4);
  }
  ::close(ready[1]);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(::write(alive[1], &byte, 1), 1);
  ::close(alive[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(ancestor, &status, 0), ancestor);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  pollfd polled{ready[0], POLLIN, 0};
  ASSERT_EQ(::poll(&polled, 1, 0), 1) << "a descendant is alive";
  // A second byte would be another "ready"; the end is what we want in the end.
  while (::read(ready[0], &byte, 1) == 1) {
  }
  ::close(alive[0]);
  ::close(ready[0]);
}

[[noreturn]] void linger() {
  for (;;) ::pause();
}

TEST(TreeTest, KillsDaemonsThatForkedTwiceIntoTheirOwnSessions) {
  expect_killed([](int ready) {
    for (int i = 0; i < 5; ++i) {
      if (::fork() == 0) {
        ::setsid();
        if (::fork() == 0) {
          ::signal(SIGTERM, SIG_IGN);
          if (i == 4 && ::write(ready, "x", 1) != 1) ::_exit(1);
          linger();
        }
        ::_exit(0);
      }
    }
    linger();
  });
}

TEST(TreeTest, KillsAStoppedTree) {
  expect_killed([](int ready) {
    if (::fork() == 0) linger();
    if (::write(ready, "x", 1) != 1) ::_exit(1);
    ::raise(SIGSTOP);
    linger();
  });
}

TEST(TreeTest, KillsAProcessWhoseFirstThreadHasEnded) {
  expect_killed([](int ready) {
    static int ready_fd;
    ready_fd = ready;
    if (::fork() == 0) {
      pthread_t thread;
      auto run = [](void*) -> void* {
        // Until /proc shows the process as what it is not.
        const std::string stat = "/proc/" + std::to_string(::getpid()) + "/stat";
        for (auto text = read_file(stat, 4096); text && text->find(") Z ") == std::string::npos;) {
          ::sched_yield();
          text = read_file(stat, 4096);
        }
        if (::write(ready_fd, "x", 1) != 1) ::_exit(1);
        linger();
      };
      if (::pthread_create(&thread, nullptr, run, nullptr) != 0) ::_exit(1);
      ::syscall(SYS_exit, 0);
    }
    linger();
  });
}

TEST(TreeTest, KillsWhatForksMeanwhile) {
  expect_killed([](int ready) {
    // Each generation lives shortly and leaves the next one behind: always one step ahead of a single pass.
    if (::write(ready, "x", 1) != 1) ::_exit(1);
    for (;;) {
      pid_t pid = ::fork();
      if (pid > 0) ::_exit(0);
      if (pid < 0) ::usleep(1000);
    }
  });
}

// In a process of its own, a subreaper: jobs, and what a session grows after them. 0 is success.
int kill_beside_jobs() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) < 0) return 1;
  char byte = 0;
  const pid_t job = ::fork();
  if (job == 0) {
    const pid_t beneath = ::fork();
    if (::write(ready[1], &beneath, sizeof beneath) != sizeof beneath) ::_exit(1);
    linger();
  }
  std::array<pid_t, 2> said{};
  for (pid_t& pid : said) {
    if (::read(ready[0], &pid, sizeof pid) != sizeof pid) return 2;
  }
  const pid_t beneath = std::max(said[0], said[1]);  // the other is the child's own answer, 0
  const kernel::Bystanders bystanders = bystanders_here(false);
  const pid_t command = ::fork();
  if (command == 0) {
    for (int i = 0; i < 3; ++i) {
      if (::fork() > 0) continue;
      ::setsid();
      if (::fork() > 0) ::_exit(0);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      linger();
    }
    linger();
  }
  for (int i = 0; i < 3; ++i) {
    if (::read(ready[0], &byte, 1) != 1) return 3;
  }
  if (kill_descendants(std::chrono::seconds(20), bystanders) != 0) return 4;
  if (::waitpid(command, nullptr, WNOHANG) >= 0) return 5;
  if (::waitpid(job, nullptr, WNOHANG) != 0) return 6;
  const UniqueFd proc(::open("/proc", O_PATH | O_CLOEXEC));
  const auto left = kernel::read_process(proc.get(), beneath);
  if (!left || left->exited()) return 7;
  if (kill_descendants(std::chrono::seconds(20)) != 0) return 8;
  return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD ? 0 : 9;
}

TEST(TreeTest, LeavesAloneWhatWasThereBefore) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(kill_beside_jobs());
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(TreeTest, FindsNoneWhereThereAreNone) {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(kill_descendants(std::chrono::seconds(5)) == 0 && !bystanders_here(true).any() ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(EventLogTest, CountsWhatAFullDiskDoesNotTake) {
  auto log = EventLog::open("/dev/full");
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_TRUE(log->problems().empty());
  log->append("{}");
  log->append("{}");
  EXPECT_EQ(log->problems(),
            std::vector<std::string>{"2 events could not be written to /dev/full: No space left on device"});
}

TEST(EventLogTest, DoesNotWaitForAReader) {
  std::string path = ::testing::TempDir() + "fifo." + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(EventLog::open(path)) << "a FIFO nobody reads";
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto log = EventLog::open(path);
  ASSERT_TRUE(log) << log.error().message;
  std::string line(1000, 'x');
  for (int i = 0; i < 1000; ++i) log->append(line);
  EXPECT_EQ(log->problems().size(), 1U);
  ::unlink(path.c_str());
}

class LogFile : public ::testing::Test {
 protected:
  static std::string tampered(EventLog& log) {
    auto problems = log.problems();
    return problems.empty() ? "" : problems.front();
  }
  test::TemporaryDirectory temporary_;
  std::string directory_ = temporary_.path();
  std::string path_ = directory_ + "/log";
};

TEST_F(LogFile, IsAppendedToAndStaysOurs) {
  std::ofstream(path_) << "before\n";
  auto log = EventLog::open(path_);
  ASSERT_TRUE(log) << log.error().message;
  log->append("one");
  log->append("two");
  EXPECT_EQ(tampered(*log), "");
  std::ifstream in(path_);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "before\none\ntwo\n");
}

TEST_F(LogFile, IsSaidToBeChanged) {
  const std::function<void()> attacks[] = {
      [this] { std::ofstream(path_, std::ios::app) << "forged\n"; },
      [this] { std::filesystem::resize_file(path_, 0); },
      [this] { std::filesystem::remove(path_); },
      [this] { std::filesystem::rename(path_, path_ + ".old"); },
      [this] {
        std::filesystem::rename(path_, path_ + ".old");
        std::ofstream(path_) << "one\n";
      },
      [this] {
        // A change within the tick of our write cannot be told from it.
        struct stat before {};
        struct stat now {};
        ASSERT_EQ(::stat(path_.c_str(), &before), 0);
        do {
          std::fstream(path_, std::ios::in | std::ios::out) << "ONE";
          ASSERT_EQ(::stat(path_.c_str(), &now), 0);
        } while (now.st_ctim.tv_sec == before.st_ctim.tv_sec && now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
      },
  };
  for (const auto& attack : attacks) {
    auto log = EventLog::open(path_);
    ASSERT_TRUE(log) << log.error().message;
    log->append("one");
    EXPECT_EQ(tampered(*log), "");
    attack();
    EXPECT_NE(tampered(*log).find("by somebody else while the command ran"), std::string::npos);
  }
}

// A change before a write of ours is noticed by that write.
TEST_F(LogFile, IsLookedAtBeforeEachWrite) {
  auto log = EventLog::open(path_);
  ASSERT_TRUE(log);
  log->append("one");
  std::ofstream(path_, std::ios::app) << "forged\n";
  log->append("two");
  EXPECT_NE(tampered(*log), "");
}

TEST_F(LogFile, IsNoLinkThatOthersMayMake) {
  std::filesystem::create_symlink("target", path_);
  auto log = EventLog::open(path_);
  ASSERT_TRUE(log) << "the user's own link in the user's own directory: " << log.error().message;
  ASSERT_EQ(::chmod(directory_.c_str(), 0777), 0);
  EXPECT_FALSE(EventLog::open(path_)) << "others can put another there";
  ASSERT_EQ(::chmod(directory_.c_str(), 0700), 0);
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: owners are changed";
  constexpr uid_t kOther = 64003;
  ASSERT_EQ(::lchown(path_.c_str(), kOther, kOther), 0);
  EXPECT_FALSE(EventLog::open(path_)) << "another's link";
  ASSERT_EQ(::lchown(path_.c_str(), 0, 0), 0);
  ASSERT_EQ(::chown((directory_ + "/target").c_str(), kOther, kOther), 0);
  EXPECT_FALSE(EventLog::open(path_)) << "another's file";
}

TEST_F(LogFile, MayBeADescriptor) {
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  auto log = EventLog::open("fd:" + std::to_string(fd), fd);
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << "it is taken";
  log->append("one");
  std::filesystem::rename(path_, path_ + ".old");
  EXPECT_NE(tampered(*log), "") << "a rename is a change";
  UniqueFd reading(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(EventLog::open("fd", reading.get()));
}

}  // namespace
}  // namespace wrapd::client
