// SPDX-License-Identifier: Apache-2.0
// A thread installs a filter with a listener on itself and makes a call that the filter traps; the main thread answers.
// These probes leave a filter behind: run them in_child().

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <future>
#include <optional>
#include <thread>

#include "base/io.h"
#include "base/unique_fd.h"
#include "client/wrapctl/doctor/probe.h"
#include "kernel/uapi.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr const char* kOldKernel = "Linux 5.19 or later is needed";
constexpr int kAnswer = 4242;
constexpr int kTimeout = 2000;  // milliseconds

// Traps getppid(2) only, which nothing but our thread calls.
long install_listener(unsigned long flags) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog prog{static_cast<unsigned short>(std::size(program)), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &prog);
  return fd < 0 ? -errno : fd;
}

struct Trapped {
  std::promise<long> listener;     // descriptor, or -errno
  std::promise<long> call_result;  // what the trapped call gave
};

void trapped_thread(Trapped& shared, unsigned long flags) {
  long fd = install_listener(flags);
  shared.listener.set_value(fd);
  if (fd >= 0) shared.call_result.set_value(::syscall(SYS_getppid));
}

Finding cannot_install(int error) {
  if (error == EBUSY) {
    return failed("another supervisor is above us, and Linux allows one", "run it outside of the other sandbox");
  }
  if (error == EINVAL || error == ENOSYS)
    return failed(with_errno("cannot install a filter with a listener", error), kOldKernel);
  return failed(with_errno("cannot install a filter with a listener", error),
                "something above us (a container, a sandbox) forbids it: run it outside, or let it through there");
}

std::optional<seccomp_notif> receive(int listener) {
  pollfd polled{listener, POLLIN, 0};
  if (::poll(&polled, 1, kTimeout) != 1) return std::nullopt;
  seccomp_notif notification{};
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0) return std::nullopt;
  return notification;
}

bool respond(int listener, uint64_t id) {
  seccomp_notif_resp response{};
  response.id = id;
  response.val = kAnswer;
  return ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0;
}

// Installs, traps one call, has `answer` answer it, and judges by what the call gave. The thread is never joined: where
// a step fails it may hang in its call, and the process ends anyway.
template <class Answer>
Finding with_trapped_call(unsigned long flags, Answer answer) {
  static Trapped shared;
  auto listener_future = shared.listener.get_future();
  auto result_future = shared.call_result.get_future();
  std::thread(trapped_thread, std::ref(shared), flags).detach();
  long installed = listener_future.get();
  if (installed < 0) return cannot_install(static_cast<int>(-installed));
  UniqueFd listener(static_cast<int>(installed));
  auto notification = receive(listener.get());
  if (!notification) return failed("no notification could be received", kOldKernel);
  return answer(listener.get(), *notification, result_future);
}

Finding answered(int listener, const seccomp_notif& notification, std::future<long>& result, std::string detail) {
  if (!respond(listener, notification.id)) return failed("a notification could not be answered", kOldKernel);
  if (result.wait_for(std::chrono::milliseconds(kTimeout)) != std::future_status::ready) {
    return failed("an answered call did not return", kOldKernel);
  }
  if (result.get() != kAnswer) return failed("a call did not return what it was answered", kOldKernel);
  return ok(std::move(detail));
}

}  // namespace

Finding probe_seccomp_listener() {
  return with_trapped_call(0, [](int listener, const seccomp_notif& notification, std::future<long>& result) {
    return answered(listener, notification, result, "a trapped call was answered");
  });
}

Finding probe_wait_killable() {
  return with_trapped_call(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, [](int listener, const seccomp_notif& notification,
                                                                      std::future<long>& result) {
    return answered(listener, notification, result, "signals do not repeat calls that are being decided");
  });
}

Finding probe_sync_wake_up() {
  return with_trapped_call(0, [](int listener, const seccomp_notif& notification, std::future<long>& result) {
    bool sync = ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
    Finding finding = answered(listener, notification, result, "program and supervisor change places on one CPU");
    if (sync || finding.status != Status::ok) return finding;
    return fallback("ordinary wake-ups are in use: each decision takes 3 to 4 times as long",
                    "Linux 6.6 or later is faster");
  });
}

Finding probe_addfd() {
  return with_trapped_call(0, [](int listener, const seccomp_notif& notification, std::future<long>& result) {
    auto source = sealed_memfd("doctor", {});
    if (!source) return failed(source.error().message, "");
    seccomp_notif_addfd add{};
    add.id = notification.id;
    add.flags = SECCOMP_ADDFD_FLAG_SEND;
    add.srcfd = static_cast<uint32_t>(source->get());
    add.newfd_flags = O_CLOEXEC;
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0) {
      return failed(with_errno("cannot hand a descriptor to a trapped call", errno), kOldKernel);
    }
    if (result.wait_for(std::chrono::milliseconds(kTimeout)) != std::future_status::ready) {
      return failed("a call that was given a descriptor did not return", kOldKernel);
    }
    struct stat ours {};
    struct stat theirs {};
    UniqueFd given(static_cast<int>(result.get()));
    if (::fstat(source->get(), &ours) < 0 || ::fstat(given.get(), &theirs) < 0 || ours.st_ino != theirs.st_ino) {
      return failed("a call got another descriptor than it was given", kOldKernel);
    }
    return ok("a descriptor was handed to a trapped call");
  });
}

}  // namespace wrapd::wrapctl::doctor
