// SPDX-License-Identifier: Apache-2.0
#include "supervisor/descriptor_kind.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/io.h"

namespace wrapd::supervisor {
namespace {

Result<std::string> proc_name(int fd, std::string_view proc_fd_path) {
  std::string path(proc_fd_path);
  path += "/" + std::to_string(fd);
  std::array<char, 256> name;  // longer ones are cut, and none of ours
  ssize_t n = ::readlinkat(AT_FDCWD, path.c_str(), name.data(), name.size());
  if (n < 0) return fail_errno("cannot read the name of a received descriptor in " + std::string(proc_fd_path));
  return std::string(name.data(), static_cast<size_t>(n));
}

}  // namespace

Result<> descriptor_is_seccomp_listener(int fd, std::string_view proc_fd_path) {
  auto name = proc_name(fd, proc_fd_path);
  if (!name) return std::unexpected(name.error());
  if (*name != "anon_inode:seccomp notify") return fail("not a seccomp listener but " + printable(*name, 128));
  __u64 nobody = 0;
  if (::ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &nobody) < 0 && errno != ENOENT) {
    return fail_errno("not a seccomp listener");
  }
  return {};
}

Result<> descriptor_is_pidfd(int fd, std::string_view proc_fd_path) {
  auto name = proc_name(fd, proc_fd_path);
  if (!name) return std::unexpected(name.error());
  // The second form is pidfs', Linux 6.9.
  if (*name != "anon_inode:[pidfd]" && !name->starts_with("pidfd:[")) {
    return fail("not a pidfd but " + printable(*name, 128));
  }
  // EPERM comes from a process that we may not signal, so from a process.
  if (::syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0) < 0 && errno != EPERM) {
    return fail_errno(errno == ESRCH ? "the pidfd's process is gone" : "not a pidfd");
  }
  return {};
}

}  // namespace wrapd::supervisor
