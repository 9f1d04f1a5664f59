// SPDX-License-Identifier: Apache-2.0
#include "kernel/seccomp_source.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "kernel/system_call.h"
#include "kernel/uapi.h"

namespace wrapd::kernel {

SeccompSource::SeccompSource(UniqueFd listener) : listener_(std::move(listener)) {
  // Linux 6.6; where the kernel has it not, only speed is lost.
  if (listener_) (void)::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

int SeccompSource::receive(Notification& call) {
  seccomp_notif received{};  // the kernel refuses a buffer that is not zero
  if (int rc = result(::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &received)); rc < 0) return rc;
  call = {.id = received.id, .tid = static_cast<pid_t>(received.pid), .number = received.data.nr, .arguments = {}};
  std::ranges::copy(received.data.args, std::begin(call.arguments));
  return 0;
}

int SeccompSource::answer(uint64_t id, const Answer& answer) {
  // The call that sets `run_natively` says there why it is safe.
  if (answer.run_natively) return respond(id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
  if (answer.descriptor) return give_descriptor(id, answer);
  return respond(id, -answer.error, answer.value, 0);
}

int SeccompSource::respond(uint64_t id, int error, int64_t value, uint32_t flags) {
  seccomp_notif_resp response{.id = id, .val = value, .error = error, .flags = flags};
  return result(::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response));
}

int SeccompSource::give_descriptor(uint64_t id, const Answer& answer) {
  seccomp_notif_addfd given{.id = id,
                            .flags = SECCOMP_ADDFD_FLAG_SEND,
                            .srcfd = static_cast<uint32_t>(answer.descriptor.get()),
                            .newfd = 0,
                            .newfd_flags = answer.close_on_exec ? uint32_t{O_CLOEXEC} : 0};
  // The target takes the descriptor itself, and we wait for it. If a signal ended that wait, the call would be answered
  // already, with 0 and no descriptor (seccomp_notify_addfd(), kernel/seccomp.c).
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int rc = result(::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &given));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (rc >= 0) return 0;
  // ESRCH: it left the call while the descriptor was on its way.
  if (rc == -ENOENT || rc == -ESRCH) return -ENOENT;
  // It could not take it, and waits on.
  if (int told = respond(id, rc, 0, 0); told < 0) return told;
  return rc;
}

bool SeccompSource::valid(uint64_t id) {
  return ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

}  // namespace wrapd::kernel
