// SPDX-License-Identifier: Apache-2.0
#include "kernel/bind_process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

#include "base/unique_fd.h"
#include "kernel/uapi.h"

namespace wrapd::kernel {
namespace {

constexpr size_t kMaxBindDescriptors = 8;

int result(long rc) {
  return rc < 0 ? -errno : static_cast<int>(rc);
}

struct BindProcess {
  const BindRequest& request;
  int error = -EIO;
};

int restrict_to_sockets_beneath(int parent) {
  LandlockRulesetAttr attr{};
  attr.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SOCK;
  // The size of the first ABI: later kernels take it, and a kernel with the first ABI only takes nothing larger.
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, sizeof attr.handled_access_fs, 0)));
  if (!ruleset) return -errno;
  landlock_path_beneath_attr beneath{};
  beneath.allowed_access = LANDLOCK_ACCESS_FS_MAKE_SOCK;
  beneath.parent_fd = parent;
  if (::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0) return -errno;
  return result(::syscall(SYS_landlock_restrict_self, ruleset.get(), 0));
}

// The descriptor table is this process's own. It can outlive the supervisor: a file system that has taken a request
// holds up the process that made it until it answers, also one that was killed. Nothing of the supervisor's may be left
// here by then: as long as a copy of the listener is open, trapped calls wait for an answer instead of failing.
int close_all_others(const BindRequest& request) {
  std::array<int, 3 + kMaxBindDescriptors> kept{request.socket, request.directory, request.parent};
  size_t count = 3;
  for (const auto& descriptor : request.descriptors) kept[count++] = descriptor.directory;
  std::sort(kept.begin(), kept.begin() + count);
  unsigned first = 0;
  for (int fd : std::span(kept).first(count)) {
    if (fd < 0) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number > first && ::close_range(first, number - 1, 0) < 0) return -errno;
    first = number + 1;
  }
  return result(::close_range(first, ~0U, 0));
}

// What the call works with moves out of the way of the numbers that the
// name needs.
int place_descriptors(std::span<const BindRequest::Descriptor> descriptors, int& socket) {
  int free = 3;
  for (const auto& descriptor : descriptors) free = std::max(free, descriptor.number + 1);
  auto move_away = [free](int fd) { return result(::fcntl(fd, F_DUPFD_CLOEXEC, free)); };
  std::array<int, kMaxBindDescriptors> moved;
  for (size_t i = 0; i < descriptors.size(); ++i) {
    moved[i] = move_away(descriptors[i].directory);
    if (moved[i] < 0) return moved[i];
  }
  socket = move_away(socket);
  if (socket < 0) return socket;
  for (size_t i = 0; i < descriptors.size(); ++i) {
    if (::dup3(moved[i], descriptors[i].number, O_CLOEXEC) < 0) return -errno;
  }
  return 0;
}

int bind_as_told(const BindRequest& request) {
  if (int rc = close_all_others(request); rc < 0) return rc;
  if (::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGKILL)) < 0) return -errno;
  ::umask(request.umask);
  if (request.directory >= 0 && ::fchdir(request.directory) < 0) return -errno;
  if (int rc = restrict_to_sockets_beneath(request.parent); rc < 0) return rc;
  int socket = request.socket;
  if (!request.descriptors.empty()) {
    if (int rc = place_descriptors(request.descriptors, socket); rc < 0) return rc;
  }
  return result(::bind(socket, request.address, request.length));
}

int bind_in_process(void* argument) {
  auto& process = *static_cast<BindProcess*>(argument);
  process.error = bind_as_told(process.request);
  return 0;
}

}  // namespace

// A thread would have a working directory of its own, but "/proc/self" would be the whole supervisor. As with vfork(2)
// the process shares our memory, and this thread stands still until it has ended. It has no signal at its end, so
// nobody else reaps it; and it runs no handler of ours, as all signals are blocked.
int bind_in_own_process(const BindRequest& request) {
  if (request.descriptors.size() > kMaxBindDescriptors) return -ELOOP;
  BindProcess process{.request = request};
  constexpr size_t kStack = 65536;
  void* stack = ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) return -errno;
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t child = ::clone(bind_in_process, static_cast<std::byte*>(stack) + kStack, CLONE_VM | CLONE_VFORK, &process);
  int error = child < 0 ? -errno : 0;
  if (child > 0) {
    int status = 0;
    if (::waitpid(child, &status, static_cast<int>(__WCLONE)) != child || status != 0) process.error = -EIO;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::munmap(stack, kStack);
  return error < 0 ? error : process.error;
}

}  // namespace wrapd::kernel
