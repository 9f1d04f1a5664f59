// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <thread>

#include "fake_kernel.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void linger() {
  for (;;) ::pause();
}

// `wrap`: a subreaper whose child is the leader. Everything beneath holds `alive` open.
struct Family {
  UniqueFd proc{::open("/proc", O_PATH | O_CLOEXEC)};
  UniqueFd alive, words;
  UniqueFd pidfd;
  pid_t client = -1;
  pid_t leader = -1;
  FakeKernel kernel;
  SessionTree tree{proc.get(), ::geteuid()};

  // `grow` says by its descriptor that the tree is there.
  explicit Family(const std::function<void(int)>& grow) {
    int holds[2], says[2];
    EXPECT_EQ(::pipe2(holds, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(says, O_CLOEXEC), 0);
    client = ::fork();
    if (client == 0) {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
      ::close(holds[0]);
      pid_t child = ::fork();
      if (child == 0) {
        grow(says[1]);
        linger();
      }
      ::close(holds[1]);
      if (::write(says[1], &child, sizeof child) != sizeof child) ::_exit(1);
      while (::waitpid(-1, nullptr, 0) > 0) {
      }
      ::_exit(0);
    }
    ::close(holds[1]);
    ::close(says[1]);
    alive.reset(holds[0]);
    words.reset(says[0]);
    // Two words, in any order: the leader's number, and one byte that the tree is grown.
    std::string text;
    while (text.size() < sizeof leader + 1) {
      char buffer[16];
      ssize_t n = ::read(words.get(), buffer, sizeof buffer);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    EXPECT_EQ(text.size(), sizeof leader + 1);
    bool grown_first = text.front() == kGrown && text[1] != kGrown;
    std::memcpy(&leader, text.data() + (grown_first ? 1 : 0), sizeof leader);
    pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, leader, 0)));
    EXPECT_TRUE(pidfd);
  }
  ~Family() {
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    ::kill(client, SIGKILL);
    ::waitpid(client, nullptr, 0);
  }
  static void grown(int fd) {
    if (::write(fd, &kGrown, 1) != 1) ::_exit(1);
  }
  [[nodiscard]] bool gone() {
    struct pollfd p {
      .fd = alive.get(), .events = POLLIN, .revents = 0
    };
    return ::poll(&p, 1, 0) == 1;
  }
  // Passes until nothing is left: killed processes take a moment to be gone.
  [[nodiscard]] bool end() {
    auto deadline = SessionTree::Clock::now() + 35s;
    while (tree.kill_all(SessionTree::Clock::now() + 500ms) > 0 || !gone()) {
      if (SessionTree::Clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  void saw(pid_t tid) { tree.saw({.id = 1, .tid = tid}, kernel); }

  static constexpr char kGrown = '\xff';
};

void daemons(int fd) {
  for (int i = 0; i < 3; ++i) {
    if (::fork() == 0) {
      ::setsid();
      if (::fork() == 0) {
        for (int s = 1; s < 32; ++s) ::signal(s, SIG_IGN);
        ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (i == 2) Family::grown(fd);
        linger();
      }
      ::_exit(0);
    }
  }
}

TEST(SessionTree, EndsWhatLivesBeneathTheClientAndNotTheClient) {
  Family f(daemons);
  f.tree.adopt(f.client, f.pidfd.get());
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
  int status = 0;
  ASSERT_EQ(::waitpid(f.client, &status, 0), f.client);
  EXPECT_TRUE(WIFEXITED(status)) << "it saw its children end and went by itself";
}

TEST(SessionTree, EndsAForkBomb) {
  Family f([](int fd) {
    // Always on the run: each process is soon an orphan of another number. Few, and not for ever, because each leaves a
    // dead one to be reaped.
    for (int i = 0; i < 2; ++i) {
      if (::fork() > 0) continue;
      const auto end = SessionTree::Clock::now() + 40s;
      while (SessionTree::Clock::now() < end) {
        const auto next = SessionTree::Clock::now() + 5ms;
        while (SessionTree::Clock::now() < next) ::sched_yield();
        if (::fork() > 0) ::_exit(0);
      }
      Family::grown(fd);  // nobody has ended it
      ::_exit(0);
    }
    Family::grown(fd);
  });
  f.tree.adopt(f.client, f.pidfd.get());
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
  char byte = 0;
  ASSERT_EQ(::fcntl(f.words.get(), F_SETFL, O_NONBLOCK), 0);
  EXPECT_LE(::read(f.words.get(), &byte, 1), 0) << "it ended by itself";
}

TEST(SessionTree, EndsAStoppedTree) {
  Family f([](int fd) {
    if (::fork() == 0) {
      Family::grown(fd);
      ::raise(SIGSTOP);
    }
    ::raise(SIGSTOP);
  });
  f.tree.adopt(f.client, f.pidfd.get());
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

// The client is killed, and what it leaves is the child of nobody that we know.
TEST(SessionTree, EndsWhatASeenProcessLeftBehind) {
  Family f(daemons);
  f.tree.adopt(f.client, f.pidfd.get());
  f.tree.remember_descendants();
  ::kill(f.client, SIGKILL);
  ::waitpid(f.client, nullptr, 0);
  EXPECT_FALSE(f.gone());
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

TEST(SessionTree, WhoMadeACallIsKnownWithItsDescendants) {
  Family f([](int fd) {
    if (::fork() == 0) {
      if (::fork() == 0) Family::grown(fd);
      linger();
    }
  });
  f.saw(f.leader);
  ::kill(f.client, SIGKILL);
  ::waitpid(f.client, nullptr, 0);
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

TEST(SessionTree, WhoseCallIsOverIsNotBelieved) {
  Family f(Family::grown);
  f.kernel.is_valid = [](uint64_t) { return false; };
  f.saw(f.leader);
  EXPECT_EQ(f.tree.kill_all(SessionTree::Clock::now()), 0U) << "the number may be somebody else's by now";
  EXPECT_FALSE(f.gone());
}

TEST(SessionTree, AThreadStandsForItsProcess) {
  Family f([](int fd) {
    std::thread([fd] {
      Family::grown(fd);
      linger();
    }).detach();
  });
  auto threads = std::string("/proc/") + std::to_string(f.leader) + "/task";
  pid_t thread = f.leader;
  for (pid_t tid = f.leader; tid < f.leader + 2000 && thread == f.leader; ++tid) {
    if (tid != f.leader && ::access((threads + "/" + std::to_string(tid)).c_str(), F_OK) == 0) thread = tid;
  }
  ASSERT_NE(thread, f.leader);
  f.saw(thread);
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

TEST(SessionTree, NobodyIsAdoptedWhoIsNotTheClientsChild) {
  Family f(Family::grown);
  f.tree.adopt(::getpid(), f.pidfd.get());  // a grandchild
  EXPECT_EQ(f.tree.kill_all(SessionTree::Clock::now()), 0U);
  UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  f.tree.adopt(::getpid(), self.get());
  f.tree.adopt(1, f.pidfd.get());
  f.tree.adopt(0, f.pidfd.get());
  EXPECT_EQ(f.tree.kill_all(SessionTree::Clock::now()), 0U);
  EXPECT_FALSE(f.gone());
}

TEST(SessionTree, NobodyElsesProcessIsTouched) {
  Family f(Family::grown);
  SessionTree other(f.proc.get(), ::geteuid() + 1);
  other.adopt(f.client, f.pidfd.get());
  other.saw({.id = 1, .tid = f.leader}, f.kernel);
  EXPECT_EQ(other.kill_all(SessionTree::Clock::now()), 0U);
  other.signal_client(SIGKILL);
  EXPECT_FALSE(f.gone());
  EXPECT_EQ(::waitpid(f.client, nullptr, WNOHANG), 0);
}

TEST(SessionTree, TheClientIsSignalledOnDemandOnly) {
  Family f(Family::grown);
  f.tree.signal_client(SIGKILL);
  EXPECT_EQ(::waitpid(f.client, nullptr, WNOHANG), 0) << "not known yet";
  f.tree.adopt(f.client, f.pidfd.get());
  f.tree.signal_client(SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(f.client, &status, 0), f.client);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(f.end());
}

TEST(ProcessTable, ACircleOfParentsEnds) {
  std::vector<kernel::Process> all{{.pid = 2, .parent = 3}, {.pid = 3, .parent = 2}, {.pid = 4, .parent = 4}};
  EXPECT_EQ(kernel::descendants(all, std::array{2}).size(), 2U);
  EXPECT_EQ(kernel::descendants(all, std::array{4}).size(), 1U);
  EXPECT_TRUE(kernel::descendants(all, std::array{5}).empty());
}

TEST(ProcessTable, ANumberWithAnotherStartIsAnotherProcess) {
  Family f(Family::grown);
  auto leader = kernel::read_process(f.proc.get(), f.leader);
  ASSERT_TRUE(leader);
  EXPECT_EQ(leader->uid, ::geteuid());
  EXPECT_EQ(leader->parent, f.client);
  auto later = *leader;
  ++later.start;
  EXPECT_FALSE(kernel::signal_process(f.proc.get(), later, SIGKILL));
  EXPECT_FALSE(f.gone());
  EXPECT_TRUE(kernel::signal_process(f.proc.get(), *leader, SIGKILL));
}

TEST(ProcessTable, ANameCannotForgeTheFields) {
  Family f([](int fd) {
    ::prctl(PR_SET_NAME, ") Z 1 1 1");
    Family::grown(fd);
  });
  auto leader = kernel::read_process(f.proc.get(), f.leader);
  ASSERT_TRUE(leader);
  EXPECT_EQ(leader->parent, f.client);
  EXPECT_FALSE(leader->exited());
}

}  // namespace
}  // namespace wrapd::supervisor
