// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/confine/filter.h"

#include <linux/bpf_common.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "client/wrap/confine/steps.h"
#include "kernel/uapi.h"

namespace wrapd::client {
namespace {

int install(const Confined& confined, int& listener) noexcept {
  if (confined.filter.empty()) return 0;
  sock_fprog program{static_cast<unsigned short>(confined.filter.size()),
                     const_cast<sock_filter*>(confined.filter.data())};
  const long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                            SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
  if (fd < 0) return errno;
  listener = static_cast<int>(fd);
  return 0;
}

std::string failure(int error) {
  if (error == EBUSY) {
    return "cannot supervise the command: another supervisor is above us, and Linux allows one; "
           "run wrap outside of the other sandbox";
  }
  const bool old = error == EINVAL || error == ENOSYS;
  return fail_errno(std::string("cannot install the seccomp filter") + (old ? "; Linux 5.19 or later is needed" : ""),
                    error)
      .error()
      .message;
}

}  // namespace

const Step kFilter{.take = install, .failure = failure};

Result<FilterProgram> FilterProgram::map(int memfd, const std::string& whose) {
  auto mapping = SealedMapping::map(memfd, BPF_MAXINSNS * sizeof(sock_filter));
  if (!mapping) return fail("cannot use " + whose + " filter: " + mapping.error().message);
  if (mapping->bytes().size() % sizeof(sock_filter) != 0) return fail("cannot use " + whose + " filter: it is cut");
  FilterProgram program;
  program.memory_ = std::move(*mapping);
  return program;
}

std::span<const sock_filter> FilterProgram::instructions() const {
  auto bytes = memory_.bytes();
  return {reinterpret_cast<const sock_filter*>(bytes.data()), bytes.size() / sizeof(sock_filter)};
}

}  // namespace wrapd::client
