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

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrap/event_log.h"

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
  EXPECT_FALSE(log->problem());
  log->append("{}");
  log->append("{}");
  EXPECT_EQ(log->problem(), "2 events could not be written to /dev/full: No space left on device");
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
  EXPECT_TRUE(log->problem());
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace wrapd::client
