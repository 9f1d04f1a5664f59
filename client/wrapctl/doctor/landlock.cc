// SPDX-License-Identifier: Apache-2.0
// These probes enter a domain: run them in_child().

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "kernel/uapi.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr const char* kEnable = "enable Landlock (lsm=landlock,... at boot); Linux 5.19 or later is needed";
constexpr const char* kNewer = "Linux 6.12 or later has them";

int abi() {
  return static_cast<int>(::syscall(SYS_landlock_create_ruleset, nullptr, 0, kernel::kLandlockCreateRulesetVersion));
}

// 0, or the errno of what failed.
int enter(const kernel::LandlockRulesetAttr& attr) {
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0)));
  if (!ruleset) return errno;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return errno;
  return ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) < 0 ? errno : 0;
}

// A listening socket with an abstract name that the kernel chose (unix(7), autobind).
struct AbstractSocket {
  UniqueFd socket;
  sockaddr_un address{};
  socklen_t length = sizeof address;
  AbstractSocket() : socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un any{};
    any.sun_family = AF_UNIX;
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&any), sizeof any.sun_family) < 0 ||
        ::listen(socket.get(), 1) < 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) < 0) {
      socket.reset();
    }
  }
  [[nodiscard]] int connect_error() const {
    UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), length) < 0 ? errno : 0;
  }
};

}  // namespace

Finding probe_landlock() {
  int version = abi();
  if (version < 0) return failed(with_errno("Landlock is not in force", errno), kEnable);
  if (version < 2) return failed("Landlock's ABI is " + std::to_string(version) + ", and 2 is needed", kEnable);
  // Before and after, so that the denial is the domain's.
  UniqueFd before(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!before) return failed(with_errno("cannot open the root directory", errno), "");
  // No rule grants what the domain handles.
  if (int error = enter({.handled_access_fs = LANDLOCK_ACCESS_FS_READ_DIR}); error != 0) {
    return failed(with_errno("cannot enter a domain", error),
                  error == E2BIG ? "too many domains are nested: run it outside of them" : kEnable);
  }
  UniqueFd after(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (after || errno != EACCES) return failed("a domain denies nothing", kEnable);
  return ok("ABI " + std::to_string(version) + "; a domain denied what it should");
}

Finding probe_landlock_scopes() {
  constexpr const char* kFallback =
      "not there: policies with on_unsupported: monitor run, and their programs can signal the user's other processes; "
      "other policies are refused";
  AbstractSocket outside;
  if (!outside.socket) return failed(with_errno("cannot make an abstract socket", errno), "");
  if (int error = outside.connect_error(); error != 0) {
    return failed(with_errno("cannot connect to an abstract socket", error), "");
  }
  int error = enter({.scoped = kernel::kLandlockScopeSignal | kernel::kLandlockScopeAbstract});
  if (error == EINVAL || error == E2BIG || error == ENOMSG) return fallback(kFallback, kNewer);
  if (error != 0) return failed(with_errno("cannot enter a domain with scopes", error), kEnable);
  // The parent and the socket made before are outside of the domain.
  if (::kill(::getppid(), 0) == 0 || errno != EPERM) return failed("a domain lets signals out", kNewer);
  if (outside.connect_error() != EPERM) return failed("a domain lets connections to abstract names out", kNewer);
  return ok("signals and abstract names stay inside of a domain");
}

}  // namespace wrapd::wrapctl::doctor
