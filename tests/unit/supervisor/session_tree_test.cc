// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/session_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <thread>

#include "base/io.h"
#include "fake_kernel.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void linger() {
  for (;;) ::pause();
}

// What a shell started before it became `wrap`. They end with the test, and hold `end` open until then.
struct Jobs {
  UniqueFd end, theirs;

  Jobs() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    end.reset(pair[0]);
    theirs.reset(pair[1]);
  }
  // In `wrap`, before it forks the leader.
  template <class Job>
  void start(int count, Job job) const {
    for (int i = 0; i < count; ++i) {
      if (::fork() > 0) continue;
      for (int fd = 3; fd < 256; ++fd) {
        if (fd != theirs.get()) ::close(fd);
      }
      job(i);
    }
  }
  void say() const {
    if (::send(theirs.get(), "x", 1, 0) != 1) ::_exit(1);
  }
  // Until the test says something.
  void wait() const {
    char byte = 0;
    if (::recv(theirs.get(), &byte, 1, 0) != 1) ::_exit(0);
  }
  // Until the test is over.
  [[noreturn]] void stay() const {
    say();
    struct pollfd p {
      .fd = theirs.get(), .events = 0, .revents = 0
    };
    while (::poll(&p, 1, -1) != 1) {
    }
    ::_exit(0);
  }
  void expect(int words) const {
    for (char byte = 0; words > 0; --words) ASSERT_EQ(::recv(end.get(), &byte, 1, 0), 1);
  }
  // True if all of them have ended.
  [[nodiscard]] bool gone() const {
    struct pollfd p {
      .fd = end.get(), .events = POLLIN, .revents = 0
    };
    return ::poll(&p, 1, 0) == 1;
  }
};

// A filter that allows everything, and is inherited.
void filter() {
  sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  sock_fprog program{1, &allow};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
    ::_exit(1);
  }
}

// `wrap`: a subreaper whose child is the leader. Everything beneath holds `alive` open, but for `jobs`. The leader
// waits to be let go, as it does for its acknowledgement, and grows its tree then.
struct Family {
  UniqueFd proc{::open("/proc", O_PATH | O_CLOEXEC)};
  UniqueFd alive, words;
  UniqueFd pidfd;
  pid_t client = -1;
  pid_t leader = -1;
  FakeKernel kernel;
  SessionTree tree{proc.get(), ::geteuid()};

  // `grow` says by its descriptor that the tree is there.
  explicit Family(const std::function<void(int)>& grow, bool filtered = false, const std::function<void()>& jobs = {}) {
    int holds[2], says[2];
    EXPECT_EQ(::pipe2(holds, O_CLOEXEC), 0);
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, says), 0);
    client = ::fork();
    if (client == 0) {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
      if (jobs) jobs();
      ::close(holds[0]);
      ::close(says[0]);
      pid_t child = ::fork();
      if (child == 0) {
        if (filtered) filter();
        const pid_t own = ::getpid();
        char byte = 0;
        if (::write(says[1], &own, sizeof own) != sizeof own || ::read(says[1], &byte, 1) != 1) ::_exit(1);
        grow(says[1]);
        linger();
      }
      ::close(holds[1]);
      ::close(says[1]);
      while (::waitpid(-1, nullptr, 0) > 0) {
      }
      ::_exit(0);
    }
    ::close(holds[1]);
    ::close(says[1]);
    alive.reset(holds[0]);
    words.reset(says[0]);
    EXPECT_EQ(::read(words.get(), &leader, sizeof leader), static_cast<ssize_t>(sizeof leader));
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
  void let_go() const {
    char byte = kGrown;
    EXPECT_EQ(::write(words.get(), &byte, 1), 1);
    EXPECT_EQ(::read(words.get(), &byte, 1), 1);
  }
  void adopt() {
    tree.adopt(client, pidfd.get());
    let_go();
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

// Three daemons, which are there when it returns, and whose first parents are gone.
void daemons(int fd) {
  int there[2];
  if (::pipe2(there, O_CLOEXEC) < 0) ::_exit(1);
  for (int i = 0; i < 3; ++i) {
    if (::fork() == 0) {
      ::setsid();
      if (::fork() == 0) {
        for (int s = 1; s < 32; ++s) ::signal(s, SIG_IGN);
        ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        Family::grown(there[1]);
        linger();
      }
      ::_exit(0);
    }
  }
  for (int i = 0; i < 3; ++i) {
    char byte = 0;
    if (::read(there[0], &byte, 1) != 1 || ::waitpid(-1, nullptr, 0) < 0) ::_exit(1);
  }
  if (fd >= 0) Family::grown(fd);
}

TEST(SessionTree, EndsWhatLivesBeneathTheClientAndNotTheClient) {
  Family f(daemons);
  f.adopt();
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
  f.adopt();
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
  f.adopt();
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

// The client is killed, and what it leaves is the child of nobody that we know.
TEST(SessionTree, EndsWhatASeenProcessLeftBehind) {
  Family f(daemons);
  f.adopt();
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
  f.let_go();
  f.saw(f.leader);
  ::kill(f.client, SIGKILL);
  ::waitpid(f.client, nullptr, 0);
  EXPECT_TRUE(f.end());
  EXPECT_TRUE(f.gone());
}

TEST(SessionTree, WhoseCallIsOverIsNotBelieved) {
  Family f(Family::grown);
  f.let_go();
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
  f.let_go();
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
  f.let_go();
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
  f.let_go();
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
  f.adopt();
  f.tree.signal_client(SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(f.client, &status, 0), f.client);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(f.end());
}

// --- what `wrap` was before

struct WithJobs {
  Jobs jobs;
  Family family;

  WithJobs(bool filtered, const std::function<void(int)>& grow, const std::function<void(const Jobs&)>& start)
      : family(grow, filtered, [&] {
          jobs.end.reset();
          start(jobs);
          jobs.theirs.reset();
        }) {
    jobs.theirs.reset();
  }
};

TEST(Bystanders, AreLeftAloneWithWhatLivesBeneathThem) {
  for (bool filtered : {true, false}) {
    WithJobs f(filtered, daemons, [](const Jobs& jobs) {
      jobs.start(2, [&](int) {
        if (::fork() == 0) jobs.stay();
        jobs.stay();
      });
    });
    f.jobs.expect(4);
    f.family.adopt();
    EXPECT_TRUE(f.family.end());
    EXPECT_FALSE(f.jobs.gone()) << filtered;
  }
}

// Beneath a job there may be another session, or a browser that filters itself.
TEST(Bystanders, MayHaveFiltersOfTheirOwn) {
  WithJobs f(true, Family::grown, [](const Jobs& jobs) {
    jobs.start(1, [&](int) {
      jobs.say();
      jobs.wait();
      filter();
      filter();
      if (::fork() == 0) jobs.stay();
      jobs.stay();
    });
  });
  f.jobs.expect(1);
  f.family.adopt();
  ASSERT_EQ(::send(f.jobs.end.get(), "x", 1, 0), 1);
  f.jobs.expect(2);
  EXPECT_TRUE(f.family.end());
  EXPECT_FALSE(f.jobs.gone());
}

// It comes to `wrap` as the orphans of the session do, and only its filters tell.
TEST(Bystanders, MayLeaveOthersBehind) {
  for (bool filtered : {true, false}) {
    WithJobs f(filtered, daemons, [](const Jobs& jobs) {
      jobs.start(1, [&](int) {
        jobs.say();
        jobs.wait();
        const pid_t parent = ::getpid();
        if (::fork() > 0) ::_exit(0);
        while (::getppid() == parent) ::sched_yield();
        jobs.stay();
      });
    });
    f.jobs.expect(1);
    f.family.adopt();
    ASSERT_EQ(::send(f.jobs.end.get(), "x", 1, 0), 1);
    f.jobs.expect(1);
    EXPECT_TRUE(f.family.end());
    EXPECT_EQ(f.jobs.gone(), !filtered) << "where nobody is filtered it cannot be told from the session's own";
  }
}

// Whose first thread has ended looks like one that has ended, and must not look like one without filters.
TEST(Bystanders, NoMemberIsTakenForOne) {
  WithJobs f(
      true,
      [](int fd) {
        daemons(-1);
        if (::fork() == 0) {
          static int ready;
          ready = fd;
          pthread_t thread;
          auto run = [](void*) -> void* {
            const std::string stat = "/proc/" + std::to_string(::getpid()) + "/stat";
            for (auto text = read_file(stat, 4096); text && text->find(") Z ") == std::string::npos;) {
              ::sched_yield();
              text = read_file(stat, 4096);
            }
            Family::grown(ready);
            linger();
          };
          if (::pthread_create(&thread, nullptr, run, nullptr) != 0) ::_exit(1);
          ::syscall(SYS_exit, 0);
        }
      },
      [](const Jobs& jobs) { jobs.start(1, [&](int) { jobs.stay(); }); });
  f.jobs.expect(1);
  f.family.adopt();
  EXPECT_TRUE(f.family.end());
  EXPECT_FALSE(f.jobs.gone());
}

TEST(Bystanders, AreNotedOnceAndByTheirStart) {
  WithJobs f(true, Family::grown, [](const Jobs& jobs) { jobs.start(1, [&](int) { jobs.stay(); }); });
  f.jobs.expect(1);
  const int proc = f.family.proc.get();
  kernel::Bystanders noted(proc, f.family.client, f.family.leader);
  EXPECT_TRUE(noted.any());
  auto leader = kernel::read_process(proc, f.family.leader);
  ASSERT_TRUE(leader);
  EXPECT_FALSE(noted.has(proc, *leader));
  size_t found = 0;
  for (kernel::Process process : kernel::list_processes(proc)) {
    if (!noted.has(proc, process)) continue;
    ++found;
    EXPECT_EQ(process.parent, f.family.client);
    ++process.start;
    EXPECT_FALSE(noted.has(proc, process)) << "the number is another process's";
  }
  EXPECT_EQ(found, 1U);
  EXPECT_FALSE(kernel::Bystanders(proc, f.family.leader, 0).any());
}

TEST(ProcessTable, ACircleOfParentsEnds) {
  std::vector<kernel::Process> all{{.pid = 2, .parent = 3}, {.pid = 3, .parent = 2}, {.pid = 4, .parent = 4}};
  EXPECT_EQ(kernel::descendants(all, std::array{2}).size(), 2U);
  EXPECT_EQ(kernel::descendants(all, std::array{4}).size(), 1U);
  EXPECT_TRUE(kernel::descendants(all, std::array{5}).empty());
}

TEST(ProcessTable, ANumberWithAnotherStartIsAnotherProcess) {
  Family f(Family::grown);
  f.let_go();
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
  f.let_go();
  auto leader = kernel::read_process(f.proc.get(), f.leader);
  ASSERT_TRUE(leader);
  EXPECT_EQ(leader->parent, f.client);
  EXPECT_FALSE(leader->exited());
}

}  // namespace
}  // namespace wrapd::supervisor
