// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <utility>

#include "client/wrap/options.h"
#include "wire/handoff.h"

namespace wrapd::client {

enum class Stage : uint32_t { none, parent_death, signals, wait, acknowledgement, exec, confine };  // + index in kSteps

struct LaunchPage {
  std::atomic<uint32_t> acknowledged{0};  // futex; the supervisor's answer, written by the parent
  std::atomic<int32_t> listener{-1};      // number in the shared table
  std::atomic<Stage> failed{Stage::none};
  std::atomic<int32_t> error{0};
};
static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

namespace {

constexpr auto kAccepted = static_cast<uint32_t>(wire::HandoffAnswer::accepted);

struct ChildContext {
  const LaunchSpec* spec;
  LaunchPage* page;
  int ready;  // eventfd
  pid_t parent;
};

constexpr Stage at_step(size_t index) {
  return static_cast<Stage>(static_cast<uint32_t>(Stage::confine) + index);
}

[[noreturn]] void give_up(const ChildContext& context, Stage stage, int error) noexcept {
  context.page->error.store(error);
  context.page->failed.store(stage);
  // The end of this process is the message: `ready` may be closed by now, and its number be another descriptor's.
  ::_exit(kExitFailed);
}

void await_acknowledgement(const ChildContext& context) noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const time_t deadline = now.tv_sec + context.spec->timeout.count() / 1000 + 1;
  // FUTEX_WAIT_BITSET takes an absolute time, so that signals do not prolong the wait.
  const timespec until{deadline, now.tv_nsec};
  while (context.page->acknowledged.load() == 0) {
    long waited = ::syscall(SYS_futex, &context.page->acknowledged, FUTEX_WAIT_BITSET, 0, &until, nullptr,
                            FUTEX_BITSET_MATCH_ANY);
    if (waited < 0 && errno != EAGAIN && errno != EINTR) give_up(context, Stage::wait, errno);
  }
  if (context.page->acknowledged.load() != kAccepted) give_up(context, Stage::acknowledgement, 0);
}

// Runs in the child. No allocation, no lock, no buffered output, nothing that the filter traps once it is there.
[[noreturn]] void run_child(const ChildContext& context) noexcept {
  const LaunchSpec& spec = *context.spec;
  // Kept beyond the exec: a SIGKILL to wrap is meant for CMD.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) give_up(context, Stage::parent_death, errno);
  if (::getppid() != context.parent) ::_exit(kExitFailed);
  if (!spec.signals->restore()) give_up(context, Stage::signals, errno);
  int listener = -1;
  for (size_t i = 0; i < std::size(kSteps); ++i) {
    if (int error = kSteps[i]->take(spec.confined, listener); error != 0) give_up(context, at_step(i), error);
  }
  context.page->listener.store(listener);
  if (::eventfd_write(context.ready, 1) < 0) give_up(context, Stage::wait, errno);
  await_acknowledgement(context);
  give_up(context, Stage::exec, spec.exec->execute().error);
}

std::string describe(Stage stage, int error) {
  if (stage >= Stage::confine)
    return kSteps[static_cast<size_t>(stage) - static_cast<size_t>(Stage::confine)]->failure(error);
  auto with_errno = [&](const char* what) { return fail_errno(what, error).error().message; };
  switch (stage) {
    case Stage::parent_death:
      return with_errno("cannot tie the command to this process");
    case Stage::signals:
      return with_errno("cannot restore the signals for the command");
    case Stage::wait:
      if (error == ETIMEDOUT) return "the supervisor did not acknowledge in time; try again";
      return with_errno("cannot wait for the supervisor");
    case Stage::acknowledgement:
      return "the supervisor did not accept the command";
    case Stage::exec:
      return with_errno("cannot execute the command");
    case Stage::none:
    case Stage::confine:
      break;
  }
  return "the command's process ended before it could start; try again";
}

// fork(2) with CLONE_FILES and CLONE_PIDFD. Without CLONE_VM, so the child has its own memory.
pid_t clone_sharing_files(int* pidfd) {
  return static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, nullptr, pidfd, nullptr, 0));
}

Result<> set_close_on_exec(std::span<const int> fds, bool on) {
  for (int fd : fds) {
    if (::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0)
      return fail_errno("cannot pass on descriptor " + std::to_string(fd));
  }
  return {};
}

}  // namespace

Result<Launch> Launch::start(const LaunchSpec& spec) {
  void* memory = ::mmap(nullptr, sizeof(LaunchPage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("cannot map memory to start the command");
  Launch launch;
  launch.page_ = new (memory) LaunchPage;
  UniqueFd ready(::eventfd(0, EFD_CLOEXEC));
  if (!ready) return fail_errno("cannot create an eventfd to start the command");
  if (auto kept = set_close_on_exec(spec.keep_fds, false); !kept) return std::unexpected(kept.error());

  int pidfd = -1;
  ChildContext context{&spec, launch.page_, ready.get(), ::getpid()};
  pid_t pid = clone_sharing_files(&pidfd);
  if (pid == 0) run_child(context);
  if (pid < 0) return fail_errno("cannot create a process for the command");
  launch.pid_ = pid;
  launch.pidfd_.reset(pidfd);
  if (auto confined = launch.await_confined(ready.get(), spec.timeout); !confined)
    return std::unexpected(confined.error());
  return launch;
}

Result<> Launch::await_confined(int ready, std::chrono::milliseconds timeout) {
  pollfd polled[] = {{ready, POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
  int n = 0;
  do {
    n = ::poll(polled, 2, static_cast<int>(timeout.count()));
  } while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot wait for the command's process");
  // Taken in every case: a listener that stayed in our table would keep the command hanging, were it ever to run.
  listener_.reset(page_->listener.load());
  Stage stage = page_->failed.load();
  if (n == 0) return fail("the command's process could not be confined in time; try again");
  if (stage != Stage::none || polled[0].revents == 0) return fail(describe(stage, page_->error.load()));
  return {};
}

Launch::Launch(Launch&& other) noexcept
    : page_(std::exchange(other.page_, nullptr)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      listener_(std::move(other.listener_)),
      released_(other.released_) {}

Launch::~Launch() {
  if (pid_ > 0 && !released_) {
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) < 0 && errno == EINTR) {
    }
  }
  if (page_ != nullptr) ::munmap(page_, sizeof(LaunchPage));
}

void Launch::go() {
  released_ = true;
  page_->acknowledged.store(kAccepted);
  ::syscall(SYS_futex, &page_->acknowledged, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

int Launch::exec_error() const {
  return page_->failed.load() == Stage::exec ? page_->error.load() : 0;
}

std::optional<std::string> Launch::failure() const {
  Stage stage = page_->failed.load();
  if (stage == Stage::none || stage == Stage::exec) return std::nullopt;
  return describe(stage, page_->error.load());
}

Result<> guard_descriptors(std::span<const int> wanted) {
  for (int fd : wanted) {
    if (::fcntl(fd, F_GETFD) < 0)
      return fail("descriptor " + std::to_string(fd) + " is not open; open it, or leave it out");
  }
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is this one, as those below are open. CMD finds it closed, as it would natively.
    UniqueFd placeholder(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (placeholder.get() != fd) return fail_errno("cannot open /dev/null");
    static_cast<void>(placeholder.release());
  }
  if (::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
    return fail_errno("cannot close descriptors on exec");
  return {};
}

}  // namespace wrapd::client
