// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "kernel/uapi.h"

namespace wrapd::wrapctl::doctor {

Finding probe_openat2() {
  UniqueFd directory(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return failed(with_errno("cannot open /proc", errno), "mount /proc");
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT;
  // In the root directory that is /proc, "/.." is /proc.
  UniqueFd opened(static_cast<int>(::syscall(SYS_openat2, directory.get(), "/..", &how, sizeof how)));
  if (!opened) {
    return failed(with_errno("openat2 cannot be used", errno),
                  "Linux 5.6 or later has it; if something above us (a container) forbids it, let it through there");
  }
  struct stat wanted {};
  struct stat got {};
  if (::fstat(directory.get(), &wanted) < 0 || ::fstat(opened.get(), &got) < 0 || wanted.st_dev != got.st_dev ||
      wanted.st_ino != got.st_ino) {
    return failed("openat2 leaves the root directory that it is given", "Linux 5.19 or later is needed");
  }
  return ok("names are looked up inside of a given root directory");
}

Finding probe_memfd_sealing() {
  constexpr std::byte kContent[] = {std::byte{'x'}};
  auto fd = sealed_memfd("doctor", kContent);
  if (!fd) return failed(fd.error().message, "something above us (a container) forbids it: let it through there");
  if (::pwrite(fd->get(), "y", 1, 0) >= 0 || errno != EPERM || ::ftruncate(fd->get(), 0) == 0) {
    return failed("a sealed memfd can be changed", "Linux 5.19 or later is needed");
  }
  if (auto mapping = SealedMapping::map(fd->get(), sizeof kContent); !mapping) {
    return failed(mapping.error().message, "Linux 5.19 or later is needed");
  }
  return ok("a memfd was sealed against every change");
}

}  // namespace wrapd::wrapctl::doctor
