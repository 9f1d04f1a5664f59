// SPDX-License-Identifier: Apache-2.0

// Calls that wait, and callers of every kind: threads, processes that share memory, signals, many at once. One that
// waits holds up nobody else, and ends as it would end without us.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "arena.h"
#include "naive.h"
#include "programs.h"
#include "supervisor/task.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;
using Clock = std::chrono::steady_clock;

std::string within(std::chrono::milliseconds limit, Clock::time_point begin) {
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
  return took <= limit ? "in time" : "after " + std::to_string(took.count()) + " ms";
}

// A listening socket that takes one connection into its backlog and accepts when it is told to.
class FullServer {
 public:
  explicit FullServer(const std::string& path) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    Address address = unix_address(path);
    EXPECT_EQ(::bind(listener_.get(), address.get(), address.length), 0);
    EXPECT_EQ(::chown(path.c_str(), kAttacker, kAttacker), 0);
    EXPECT_EQ(::listen(listener_.get(), 0), 0);
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    filler_ = UniqueFd(unix_socket());
    EXPECT_EQ(::connect(filler_.get(), address.get(), address.length), 0);
    thread_ = std::thread([this] {
      char byte;
      if (::read(pipe_[0], &byte, 1) != 1 || byte != 'a') return;
      for (;;) {
        struct pollfd polls[2] = {{.fd = listener_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = pipe_[0], .events = POLLIN, .revents = 0}};
        ::poll(polls, 2, -1);
        if (polls[1].revents != 0) return;
        UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)).reset();
      }
    });
  }
  ~FullServer() {
    (void)!::write(pipe_[1], "e", 1);
    thread_.join();
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  FullServer(const FullServer&) = delete;
  FullServer& operator=(const FullServer&) = delete;
  // In any process: makes room from now on. Safe in a signal handler.
  void accept_from_now_on() const { (void)!::write(pipe_[1], "a", 1); }

 private:
  UniqueFd listener_, filler_;
  int pipe_[2];
  std::thread thread_;
};

struct Crowd {
  Place place;
  FullServer full{place / "full"};
  Server other{place / "other"};
};

TEST(Blocking, OneThatWaitsHoldsUpNobody) {
  Crowd crowd;
  Story story;
  auto result = run_wrapped(crowd.place, story, allow_everything(crowd.place), [](const Place& place, Story& told) {
    std::atomic<pid_t> tid{0};
    std::thread waiter([&] {
      tid = ::gettid();
      (void)connect_to(place / "full");
    });
    while (tid == 0) ::sched_yield();
    must_be_connecting(::getpid(), tid);
    auto begin = Clock::now();
    int failures = 0;
    for (int i = 0; i < 200; ++i) failures += connect_to(place / "other") == "ok" ? 0 : 1;
    told.tell("failures", std::to_string(failures));
    told.tell("others", within(std::chrono::seconds(5), begin));
    ::_exit(0);  // with the waiter still waiting
  });
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(story.of("failures"), "0");
  EXPECT_EQ(story.of("others"), "in time");
}

TEST(Blocking, NonBlockingSocketDoesNotWait) {
  Crowd crowd;
  Story story;
  run_wrapped(crowd.place, story, allow_everything(crowd.place), [](const Place& place, Story& told) {
    UniqueFd fd(unix_socket(SOCK_STREAM | SOCK_NONBLOCK));
    Address address = unix_address(place / "full");
    told.tell("connect", outcome(::connect(fd.get(), address.get(), address.length)));
    timeval timeout{.tv_sec = 0, .tv_usec = 100'000};
    UniqueFd patient(unix_socket());
    ::setsockopt(patient.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    told.tell("with a timeout", outcome(::connect(patient.get(), address.get(), address.length)));
  });
  EXPECT_EQ(story.of("connect"), "EAGAIN");
  EXPECT_EQ(story.of("with a timeout"), "EAGAIN");
}

// A page of the program's own that does not come: whoever reads it waits, the supervisor too. What faults it in is
// asked of a descriptor that was there before the filter, which refuses userfaultfd(2).
TEST(Blocking, MemoryThatNeverComes) {
  UniqueFd maker(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!maker) GTEST_SKIP() << "this kernel has no /dev/userfaultfd";
  Crowd crowd;
  Story story;
  auto result = run_wrapped(crowd.place, story, allow_everything(crowd.place), [&](const Place& place, Story& told) {
    const auto size = static_cast<size_t>(::getpagesize());
    void* page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    UniqueFd faults(::ioctl(maker.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC));
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register area{.range = {.start = reinterpret_cast<uintptr_t>(page), .len = size},
                         .mode = UFFDIO_REGISTER_MODE_MISSING,
                         .ioctls = 0};
    told.tell("by call", outcome(::syscall(SYS_userfaultfd, O_CLOEXEC)));
    told.tell(
        "registered",
        outcome(::ioctl(faults.get(), UFFDIO_API, &api) < 0 ? -1 : ::ioctl(faults.get(), UFFDIO_REGISTER, &area)));
    std::atomic<bool> answered{false};
    std::thread victim([&] {
      UniqueFd fd(unix_socket());
      told.tell("stalled", outcome(::connect(fd.get(), static_cast<sockaddr*>(page), sizeof(sockaddr_un))));
      answered = true;
    });
    // The fault is under way: somebody waits for the page.
    struct pollfd p {
      .fd = faults.get(), .events = POLLIN, .revents = 0
    };
    told.tell("somebody waits", std::to_string(::poll(&p, 1, 10'000)));
    auto begin = Clock::now();
    int failures = 0;
    for (int i = 0; i < 200; ++i) failures += connect_to(place / "other") == "ok" ? 0 : 1;
    told.tell("failures", std::to_string(failures));
    told.tell("others", within(std::chrono::seconds(5), begin));
    told.tell("meanwhile", answered ? "answered" : "not answered");
    victim.join();
  });
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(story.of("by call"), "EPERM");
  EXPECT_EQ(story.of("registered"), "ok");
  EXPECT_EQ(story.of("somebody waits"), "1");
  EXPECT_EQ(story.of("failures"), "0");
  EXPECT_EQ(story.of("others"), "in time");
  EXPECT_EQ(story.of("meanwhile"), "not answered");
  EXPECT_EQ(story.of("stalled"), "EACCES");
  EXPECT_EQ(result.denied, 1U);
}

volatile sig_atomic_t alarms = 0;
const FullServer* to_be_opened = nullptr;

void every_millisecond(int first_ms, int next_ms) {
  itimerval timer{.it_interval = {.tv_sec = 0, .tv_usec = next_ms * 1000},
                  .it_value = {.tv_sec = 0, .tv_usec = first_ms * 1000}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

void handle_alarm(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  ::sigaction(SIGALRM, &action, nullptr);
}

TEST(Blocking, AHandlerEndsTheWait) {
  std::vector<std::unique_ptr<FullServer>> servers;
  expect_same_story([&](const Place& place) { servers.push_back(std::make_unique<FullServer>(place / "full")); },
                    allow_everything,
                    [](const Place& place, Story& told) {
                      handle_alarm([](int) { alarms = alarms + 1; }, 0);
                      every_millisecond(200, 0);
                      told.tell("connect", connect_to(place / "full"));
                      told.tell("alarms", std::to_string(alarms));
                    });
}

TEST(Blocking, AHandlerThatRestartsRunsAndTheWaitGoesOn) {
  FullServer* server = nullptr;
  std::vector<std::unique_ptr<FullServer>> servers;
  expect_same_story(
      [&](const Place& place) {
        servers.push_back(std::make_unique<FullServer>(place / "full"));
        server = servers.back().get();
      },
      allow_everything,
      [&](const Place& place, Story& told) {
        to_be_opened = server;
        handle_alarm(
            [](int) {
              alarms = alarms + 1;
              if (alarms == 3) to_be_opened->accept_from_now_on();
            },
            SA_RESTART);
        every_millisecond(200, 200);
        told.tell("connect", connect_to(place / "full"));
        told.tell("handlers ran while it waited", alarms >= 3 ? "yes" : "no");
      });
}

// A signal for the process is one thread's to handle; the others wait on and are told nothing. The main thread
// connects, and another one does `prepare` and then what `also_waits` says.
struct SignalForTheProcess {
  void (*prepare)();
  bool also_waits;
  bool exact;  // else a call may be interrupted where it would be restarted, but never end with an error of the
               // kernel's own
};

void expect_one_wait_to_end(const SignalForTheProcess& given) {
  FullServer* server = nullptr;
  std::vector<std::unique_ptr<FullServer>> servers;
  expect_same_story(
      [&](const Place& place) {
        servers.push_back(std::make_unique<FullServer>(place / "full"));
        server = servers.back().get();
      },
      allow_everything,
      [&](const Place& place, Story& told) {
        to_be_opened = server;
        for (int number : {SIGALRM, SIGCHLD}) {
          struct sigaction action {};
          action.sa_handler = [](int) {
            alarms = alarms + 1;
            to_be_opened->accept_from_now_on();
          };
          action.sa_flags = SA_RESTART;
          ::sigaction(number, &action, nullptr);
        }
        auto connect = [&] {
          for (;;) {
            std::string how = connect_to(place / "full");
            if (given.exact || how != "EINTR") return how;
          }
        };
        int until_done[2];
        if (::pipe2(until_done, O_CLOEXEC) < 0) ::_exit(1);
        std::atomic<pid_t> tid{0};
        std::string second;
        std::thread other([&] {
          given.prepare();
          tid = ::gettid();
          char byte;
          second = given.also_waits ? connect() : outcome(static_cast<int>(::read(until_done[0], &byte, 1)));
        });
        while (tid == 0) ::sched_yield();
        if (given.also_waits) must_be_connecting(::getpid(), tid);
        told.tell("first", connect());
        (void)!::write(until_done[1], "d", 1);
        other.join();
        told.tell("second", second);
        told.tell("handlers", std::to_string(alarms));
      });
}

void send_alarm() {
  every_millisecond(900, 0);
}

void have_child() {
  if (::fork() != 0) return;
  ::usleep(900'000);
  ::_exit(0);
}

TEST(Blocking, ASignalForTheProcessEndsOneWait) {
  expect_one_wait_to_end({.prepare = send_alarm, .also_waits = true, .exact = false});
}

// The kernel suggests the thread that has the child, not the main one.
TEST(Blocking, ASignalForTheThreadThatHasTheChildEndsOneWait) {
  expect_one_wait_to_end({.prepare = have_child, .also_waits = true, .exact = false});
}

TEST(Blocking, ASignalForTheProcessRestartsTheOnlyWait) {
  expect_one_wait_to_end({.prepare = send_alarm, .also_waits = false, .exact = true});
}

TEST(Blocking, ASignalForASleepingThreadEndsNoWait) {
  expect_one_wait_to_end({.prepare = have_child, .also_waits = false, .exact = true});
}

TEST(Blocking, IgnoredAndBlockedSignalsDoNotEndTheWait) {
  FullServer* server = nullptr;
  std::vector<std::unique_ptr<FullServer>> servers;
  expect_same_story(
      [&](const Place& place) {
        servers.push_back(std::make_unique<FullServer>(place / "full"));
        server = servers.back().get();
      },
      allow_everything,
      [&](const Place& place, Story& told) {
        to_be_opened = server;
        ::signal(SIGALRM, SIG_IGN);
        handle_alarm(SIG_IGN, 0);
        struct sigaction action {};
        action.sa_handler = [](int) { alarms = alarms + 1; };
        ::sigaction(SIGUSR1, &action, nullptr);
        sigset_t mask;
        ::sigemptyset(&mask);
        ::sigaddset(&mask, SIGUSR1);
        ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
        every_millisecond(50, 50);
        pid_t self = ::gettid();
        std::thread helper([self] {
          must_be_connecting(::getpid(), self);
          ::kill(::getpid(), SIGUSR1);
          // Longer than a wait is left alone.
          ::usleep(300'000);
          to_be_opened->accept_from_now_on();
        });
        told.tell("connect", connect_to(place / "full"));
        told.tell("handlers", std::to_string(alarms));
        helper.join();
      });
}

TEST(Blocking, KillEndsAWaitingProcess) {
  Crowd crowd;
  Story story;
  auto result = run_wrapped(crowd.place, story, allow_everything(crowd.place), [](const Place& place, Story& told) {
    pid_t child = ::fork();
    if (child == 0) {
      (void)connect_to(place / "full");
      ::_exit(0);
    }
    must_be_connecting(child, child);
    auto begin = Clock::now();
    ::kill(child, SIGKILL);
    int status = -1;
    ::waitpid(child, &status, 0);
    told.tell("status", std::to_string(status));
    told.tell("ended", within(std::chrono::seconds(2), begin));
    told.tell("others", connect_to(place / "other"));
  });
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(story.of("status"), std::to_string(SIGKILL));
  EXPECT_EQ(story.of("ended"), "in time");
  EXPECT_EQ(story.of("others"), "ok");
}

// A session has so many waits. One more is refused; calls that do not wait are not, and all is well afterwards.
TEST(Blocking, MoreThanCanWait) {
  Crowd crowd;
  Story story;
  auto result = run_wrapped(crowd.place, story, allow_everything(crowd.place), [&](const Place& place, Story& told) {
    constexpr int kWaiting = 1024, kThreads = kWaiting + 30;
    std::atomic<int> ok{0}, refused{0}, other{0};
    std::vector<pthread_t> threads(kThreads);
    auto wait = [&] {
      std::string how = connect_to(place / "full");
      ++(how == "ok" ? ok : how == "EAGAIN" ? refused : other);
    };
    pthread_attr_t small;
    ::pthread_attr_init(&small);
    ::pthread_attr_setstacksize(&small, 65536);
    auto run = [](void* what) -> void* {
      (*static_cast<decltype(wait)*>(what))();
      return nullptr;
    };
    for (auto& thread : threads) {
      if (::pthread_create(&thread, &small, run, &wait) != 0) ::_exit(1);
    }
    int failures = 0;
    while (refused < kThreads - kWaiting) failures += connect_to(place / "other") == "ok" ? 0 : 1;
    auto begin = Clock::now();
    for (int i = 0; i < 200; ++i) failures += connect_to(place / "other") == "ok" ? 0 : 1;
    told.tell("others", within(std::chrono::seconds(5), begin));
    told.tell("failures", std::to_string(failures));
    told.tell("refused", std::to_string(refused));
    crowd.full.accept_from_now_on();
    for (pthread_t thread : threads) ::pthread_join(thread, nullptr);
    told.tell("connected", std::to_string(ok));
    told.tell("neither", std::to_string(other));
    told.tell("afterwards", connect_to(place / "other"));
  });
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(story.of("others"), "in time");
  EXPECT_EQ(story.of("failures"), "0");
  EXPECT_EQ(story.of("refused"), "30");
  EXPECT_EQ(story.of("connected"), "1024");
  EXPECT_EQ(story.of("neither"), "0");
  EXPECT_EQ(story.of("afterwards"), "ok");
  EXPECT_EQ(result.denied, 30U);
}

TEST(Signals, StormOfAlarms) {
  Crowd crowd;
  Story story;
  run_wrapped(crowd.place, story, allow_everything(crowd.place), [](const Place& place, Story& told) {
    handle_alarm([](int) { alarms = alarms + 1; }, SA_RESTART);
    every_millisecond(1, 1);
    std::string failures;
    for (int i = 0; i < 2000; ++i) {
      std::string how = connect_to(place / "other");
      if (how != "ok") failures += how + " ";
    }
    every_millisecond(0, 0);
    told.tell("failures", failures);
    told.tell("alarms", alarms > 10 ? "many" : std::to_string(alarms));
  });
  EXPECT_EQ(story.of("failures"), "");
  EXPECT_EQ(story.of("alarms"), "many");
}

TEST(Crowds, ShortLivedChildren) {
  Crowd crowd;
  Story story;
  constexpr int kChildren = 500;
  run_wrapped(crowd.place, story, allow_everything(crowd.place), [](const Place& place, Story& told) {
    int failures = 0, running = 0;
    auto reap = [&] {
      int status = -1;
      if (::wait(&status) > 0) --running;
      failures += status == 0 ? 0 : 1;
    };
    for (int i = 0; i < kChildren; ++i) {
      if (::fork() == 0) ::_exit(connect_to(place / "other") == "ok" ? 0 : 1);
      if (++running >= 50) reap();
    }
    while (running > 0) reap();
    told.tell("failures", std::to_string(failures));
  });
  crowd.other.settle();
  EXPECT_EQ(story.of("failures"), "0");
  EXPECT_EQ(crowd.other.reached(), static_cast<uint64_t>(kChildren));
}

// ---------------------------------------------------------------------------------------------------------------------
// Who asks

struct Pair {
  std::vector<std::unique_ptr<Server>> servers;
  void operator()(const Place& place) {
    servers.push_back(std::make_unique<Server>(place / "one"));
    servers.push_back(std::make_unique<Server>(place / "two"));
  }
};

TEST(Callers, AThreadWithItsOwnDescriptors) {
  Pair set_up;
  expect_same_story(std::ref(set_up), allow_everything, [](const Place& place, Story& told) {
    constexpr int kNumber = 300;
    if (::dup2(::open("/dev/null", O_RDONLY), kNumber) < 0) ::_exit(1);
    std::thread thread([&] {
      if (::unshare(CLONE_FILES) < 0 || ::dup2(unix_socket(), kNumber) < 0) ::_exit(1);
      Address one = unix_address(place / "one");
      told.tell("the thread's", outcome(::connect(kNumber, one.get(), one.length)));
      told.tell("its peer", name_of(kNumber, true));
    });
    thread.join();
    Address two = unix_address(place / "two");
    told.tell("the leader's", outcome(::connect(kNumber, two.get(), two.length)));
  });
}

TEST(Callers, AThreadWhoseLeaderIsGone) {
  Pair set_up;
  expect_same_story(std::ref(set_up), allow_everything, [](const Place& place, Story& told) {
    static pid_t leader;
    static const Place* where;
    static Story* story;
    leader = ::gettid();
    where = &place;
    story = &told;
    pthread_t thread;
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          std::string path = "/proc/self/task/" + std::to_string(leader) + "/stat";
          for (bool gone = false; !gone; ::sched_yield()) {
            UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
            char text[256] = {};
            gone = !file || ::read(file.get(), text, sizeof text - 1) <= 0 || std::strstr(text, ") Z ") != nullptr;
          }
          story->tell("absolute", connect_to(*where / "one"));
          story->tell("by /proc/thread-self", connect_to("/proc/thread-self/root" + (*where / "one")));
          if (::chdir(where->path().c_str()) < 0) ::_exit(1);
          story->tell("relative", connect_to("two"));
          story->tell("bind", bind_to("three"));
          ::_exit(0);
          return nullptr;
        },
        nullptr);
    ::syscall(SYS_exit, 0);
  });
}

TEST(Callers, AChildOfVfork) {
  Pair set_up;
  expect_same_story(std::ref(set_up), allow_everything, [](const Place& place, Story& told) {
    int fd = unix_socket();
    Address one = unix_address(place / "one");
    int rc = -1;
    // vfork(2) as the C library's posix_spawn uses it: the parent waits, the memory is shared.
    alignas(16) static char stack[65536];
    struct Task {
      int fd;
      const Address* address;
      int* rc;
    } task{fd, &one, &rc};
    pid_t child = ::clone(
        [](void* argument) -> int {
          auto* t = static_cast<Task*>(argument);
          *t->rc = ::connect(t->fd, t->address->get(), t->address->length);
          ::_exit(0);
        },
        stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &task);
    ::waitpid(child, nullptr, 0);
    told.tell("connect", outcome(rc));
    told.tell("parent's descriptor", name_of(fd, true));
  });
}

// Writers that are no threads: a process that shares the page, and one that shares all memory.
int attack_from_another_process(const std::string& allowed, const std::string& denied, bool whole_memory,
                                uint64_t count) {
  struct Shared {
    sockaddr_un address;
    sockaddr_un good, bad;
    std::atomic<bool> stop;
  };
  auto* shared =
      static_cast<Shared*>(::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (shared == MAP_FAILED) return 1;
  std::memcpy(&shared->good, unix_address(allowed).get(), sizeof shared->good);
  std::memcpy(&shared->bad, unix_address(denied).get(), sizeof shared->bad);
  shared->address = shared->good;
  static char stack[65536];
  pid_t writer = ::clone(
      [](void* argument) -> int {
        auto* s = static_cast<Shared*>(argument);
        while (!s->stop) {
          std::memcpy(s->address.sun_path, s->bad.sun_path, sizeof s->bad.sun_path);
          std::atomic_signal_fence(std::memory_order_seq_cst);  // or the compiler leaves the first one out
          std::memcpy(s->address.sun_path, s->good.sun_path, sizeof s->good.sun_path);
        }
        ::_exit(0);
      },
      stack + sizeof stack, (whole_memory ? CLONE_VM : 0) | SIGCHLD, shared);
  if (writer < 0) return 1;
  for (uint64_t i = 0; i < count; ++i) {
    UniqueFd fd(unix_socket());
    (void)::connect(fd.get(), reinterpret_cast<const sockaddr*>(&shared->address), sizeof shared->address);
  }
  shared->stop = true;
  ::waitpid(writer, nullptr, 0);
  return 0;
}

void expect_writer_lost(bool whole_memory) {
  Place place;
  Server good(place / "allowed.sock"), bad(place / "deniedx.sock");
  std::vector<Rule> rules{{{place / "deniedx.sock"}, Verdict::deny}, {{place / "allowed.sock"}, Verdict::allow}};
  auto attack = [&](uint64_t count) {
    return [&, count] {
      return attack_from_another_process(place / "allowed.sock", place / "deniedx.sock", whole_memory, count);
    };
  };
  for (int round = 0; round < 50 && bad.reached() < 20; ++round) {
    EXPECT_EQ(fight(rules, looks_and_lets_go(looks_at_the_name), attack(5000)).exit_status, 0);
    bad.settle();
  }
  EXPECT_GE(bad.reached(), 20U) << "the harness does not bite";
  uint64_t before = bad.reached();
  auto result = fight(rules, ours(), attack(tries(100'000)));
  good.settle();
  bad.settle();
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(bad.reached(), before);
  EXPECT_GT(result.denied, 0U);
  EXPECT_GT(result.decided, 0U);
}

TEST(Callers, WriterInASharedMapping) {
  expect_writer_lost(false);
}
TEST(Callers, WriterThatSharesAllMemory) {
  expect_writer_lost(true);
}

}  // namespace
}  // namespace wrapd::attack
