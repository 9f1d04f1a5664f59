// SPDX-License-Identifier: Apache-2.0

// A real listener and a real target: what arrives there, and what becomes of a descriptor that cannot.

#include "kernel/seccomp_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <thread>

#include "kernel/uapi.h"

namespace wrapd::kernel {
namespace {

// What the target saw of its call.
struct Seen {
  long returned = 0;
  int error = 0;
  int flags = -1;  // F_GETFD
  ino_t inode = 0;
};

// A child whose getppid(2) waits for us. What it does before and how often it calls is the test's.
class Target {
 public:
  explicit Target(
      int calls, const std::function<void()>& prepare = [] {}) {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    shared_ = new (memory) Shared;
    pid_ = ::fork();
    if (pid_ == 0) run(calls, prepare);
    while (shared_->listener == -1) std::this_thread::yield();
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    UniqueFd listener(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), shared_->listener.load(), 0)));
    EXPECT_TRUE(listener);
    source.emplace(std::move(listener));
  }
  ~Target() {
    end();
    ::munmap(shared_, sizeof(Shared));
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  Notification receive() {
    Notification call;
    EXPECT_EQ(source->receive(call), 0);
    EXPECT_EQ(call.number, SYS_getppid);
    EXPECT_EQ(call.tid, pid_);
    return call;
  }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // When it has returned from its `call`th call.
  Seen seen(int call) {
    while (shared_->returned < call) std::this_thread::yield();
    return shared_->seen;
  }

  std::optional<SeccompSource> source;

 private:
  struct Shared {
    std::atomic<int> listener{-1};
    std::atomic<int> returned{0};
    Seen seen;
  };

  [[noreturn]] void run(int calls, const std::function<void()>& prepare) {
    sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    sock_fprog program{.len = std::size(code), .filter = code};
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const long listener =
        ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                  SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    prepare();
    shared_->listener = static_cast<int>(listener < 0 ? -2 : listener);
    for (int i = 0; i < calls; ++i) {
      Seen& seen = shared_->seen;
      seen.returned = ::syscall(SYS_getppid);
      seen.error = errno;
      struct stat st {};
      const int fd = static_cast<int>(seen.returned);
      seen.flags = ::fcntl(fd, F_GETFD);
      seen.inode = ::fstat(fd, &st) == 0 ? st.st_ino : 0;
      if (fd > 2) ::close(fd);
      ++shared_->returned;
    }
    for (;;) ::pause();
  }

  Shared* shared_ = nullptr;
  pid_t pid_ = -1;
};

struct Pipe {
  UniqueFd read, write;
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
  // True if nobody holds the end that is written to.
  [[nodiscard]] bool closed() const {
    char byte;
    return ::read(read.get(), &byte, 1) == 0;
  }
};

ino_t inode_of(int fd) {
  struct stat st {};
  EXPECT_EQ(::fstat(fd, &st), 0);
  return st.st_ino;
}

TEST(SeccompSource, DescriptorArrivesWithTheFlagsOfTheProgram) {
  Target target(2);
  int calls = 0;
  for (bool close_on_exec : {true, false}) {
    const Notification call = target.receive();
    Pipe pipe;
    const ino_t inode = inode_of(pipe.write.get());
    {
      const Answer answer{.descriptor = std::move(pipe.write), .close_on_exec = close_on_exec};
      EXPECT_EQ(target.source->answer(call.id, answer), 0);
      EXPECT_FALSE(target.source->valid(call.id)) << "the same step answers the call";
    }
    const Seen seen = target.seen(++calls);
    EXPECT_GT(seen.returned, 2);
    EXPECT_EQ(seen.inode, inode);
    EXPECT_EQ(seen.flags, close_on_exec ? FD_CLOEXEC : 0);
    EXPECT_TRUE(pipe.closed()) << "the target has closed its own, and we have none";
  }
}

TEST(SeccompSource, ATargetThatIsGoneLeavesNoDescriptor) {
  Target target(1);
  const Notification call = target.receive();
  Pipe pipe;
  target.end();
  {
    const Answer answer{.descriptor = std::move(pipe.write)};
    EXPECT_EQ(target.source->answer(call.id, answer), -ENOENT);
  }
  EXPECT_TRUE(pipe.closed());
}

TEST(SeccompSource, ATargetWithoutRoomIsTold) {
  Target target(2, [] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_NOFILE, &none);
  });
  Pipe pipe;
  {
    const Notification call = target.receive();
    const Answer answer{.descriptor = std::move(pipe.write)};
    EXPECT_EQ(target.source->answer(call.id, answer), -EMFILE);
  }
  const Seen seen = target.seen(1);
  EXPECT_EQ(seen.returned, -1);
  EXPECT_EQ(seen.error, EMFILE);
  EXPECT_TRUE(pipe.closed());
  EXPECT_EQ(target.source->answer(target.receive().id, Answer{.value = 7}), 0) << "and goes on";
  EXPECT_EQ(target.seen(2).returned, 7);
}

// A wait of the loop's threads is ended by a signal. None may end the one for the target to take its descriptor: the
// call would be answered by then, with 0 and no descriptor.
TEST(SeccompSource, SignalsDoNotComeBetween) {
  constexpr int kCalls = 20'000;
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGURG, &action, &before);
  Target target(kCalls);
  std::atomic<bool> stop{false};
  std::thread signals([&stop, answering = ::pthread_self()] {
    while (!stop) ::pthread_kill(answering, SIGURG);
  });
  int wrong = 0;
  for (int i = 1; i <= kCalls; ++i) {
    Notification call;
    while (target.source->receive(call) == -EINTR) continue;
    const Answer answer{.descriptor = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))};
    if (target.source->answer(call.id, answer) != 0 || target.seen(i).returned <= 2) ++wrong;
  }
  stop = true;
  signals.join();
  ::sigaction(SIGURG, &before, nullptr);
  EXPECT_EQ(wrong, 0);
}

TEST(SeccompSource, AnswersInEveryOtherWay) {
  Target target(3);
  EXPECT_EQ(target.source->answer(target.receive().id, Answer{.value = 12345}), 0);
  EXPECT_EQ(target.seen(1).returned, 12345);
  EXPECT_EQ(target.source->answer(target.receive().id, Answer::errno_of(EXDEV)), 0);
  EXPECT_EQ(target.seen(2).error, EXDEV);
  const Notification call = target.receive();
  EXPECT_TRUE(target.source->valid(call.id));
  // Safe: it is a test's, and has no arguments.
  EXPECT_EQ(target.source->answer(call.id, Answer{.run_natively = true}), 0);
  EXPECT_EQ(target.seen(3).returned, ::getpid());
  EXPECT_EQ(target.source->answer(call.id, Answer{}), -ENOENT);
}

}  // namespace
}  // namespace wrapd::kernel
