// SPDX-License-Identifier: Apache-2.0
#include "daemon/instance_lock.h"

#include <fcntl.h>
#include <poll.h>

namespace wrapd::daemon {
namespace {

constexpr std::chrono::milliseconds kStep{50};

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<UniqueFd> lock_instance(int directory, std::chrono::milliseconds patience) {
  UniqueFd fd(::openat(directory, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
  if (!fd) return fail_errno("cannot open the lock file");
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    struct flock lock = whole_file();
    if (::fcntl(fd.get(), F_SETLK, &lock) == 0) return fd;
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) return fail_errno("cannot lock the lock file");
    if (std::chrono::steady_clock::now() >= deadline) break;
    static_cast<void>(::poll(nullptr, 0, static_cast<int>(kStep.count())));
  }
  struct flock holder = whole_file();
  std::string who = "another wrapd";
  if (::fcntl(fd.get(), F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK) {
    who += " (process " + std::to_string(holder.l_pid) + ")";
  }
  return fail(who + " serves already; end it, or leave it alone", EBUSY);
}

}  // namespace wrapd::daemon
