// SPDX-License-Identifier: Apache-2.0

// wrapd-keeper: started by the service where the kernel cannot refuse descriptors on a socket (before Linux 6.16). It
// holds every accepted connection for as long as the service does, and closes it last. So the close(2) that may wait
// for a stranger, and that no signal ends, is this process's: neither the service nor its end, however it comes, waits.
//
// One thread receives and holds. It closes a connection when nothing with a descriptor lies unread in it and nothing
// can come any more: that waits for nobody. The others are closed by threads, one for each user who has some to be
// closed, so that a user's connection that cannot be closed holds up that user's alone. So what a user can make us hold
// costs that user a descriptor in flight each, of which the kernel allows as many as the user's RLIMIT_NOFILE.
//
// When the service has gone, who still waits for an answer is told (their connections are shut down), the control
// socket, if we have it, is held a little longer, so that a service manager that stops it is not the last to close it,
// and the process ends. That end may take as long as a stranger likes; nobody waits for it.

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/keeper_channel.h"

namespace wrapd::daemon {
namespace {

constexpr std::chrono::seconds kListenerStays{5};
constexpr size_t kMostThreads = 256;
constexpr uint32_t kShared = UINT32_MAX;  // of those beyond kMostThreads

struct Closing {
  uint64_t id = 0;
  int fd = -1;
};

// The channel may be full of reports that a busy service has not read. The service never waits for us.
void report(KeeperReport::Kind kind, uint64_t id) {
  const KeeperReport message{.kind = kind, .reserved = 0, .id = id};
  while (::send(kKeeperChannel, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

// Whether `socket` can be closed by somebody who must not wait. It is for nobody to read any more: messages without
// descriptors are thrown away. With SO_PASSCRED each message, and not the end, brings credentials: so an empty message
// is told from the end. There is room for these alone: MSG_CTRUNC tells that there are descriptors.
bool closes_at_once(int socket) {
  constexpr int kMostMessages = 4096;  // more than fit in the largest buffer of a peer without privileges by default
  const int on = 1;
  if (::shutdown(socket, SHUT_RD) < 0) return false;
  if (::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0) return false;
  for (int i = 0; i < kMostMessages; ++i) {
    char byte = 0;
    iovec iov{.iov_base = &byte, .iov_len = 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == ECONNRESET)) continue;  // the latter is told once
    if (n < 0 || (message.msg_flags & MSG_CTRUNC) != 0) return false;
    if (n == 0 && CMSG_FIRSTHDR(&message) == nullptr) return true;
    if (::recv(socket, &byte, 1, MSG_DONTWAIT) < 0) return false;
  }
  return false;
}

class Closers {
 public:
  // A thread that cannot be had leaves the connection open, to the end of the process.
  void close(uint32_t thread, Closing closing) {
    std::lock_guard lock(mutex_);
    if (!queues_.contains(thread) && queues_.size() >= kMostThreads) thread = kShared;
    const bool running = queues_.contains(thread);
    queues_[thread].push_back(closing);
    if (running) return;
    try {
      std::thread([this, thread] { run(thread); }).detach();
    } catch (const std::system_error&) {
      queues_.erase(thread);
    }
  }

 private:
  void run(uint32_t thread) {
    for (;;) {
      Closing next;
      {
        std::lock_guard lock(mutex_);
        auto& queue = queues_[thread];
        if (queue.empty()) return static_cast<void>(queues_.erase(thread));
        next = queue.front();
        queue.pop_front();
      }
      ::close(next.fd);
      report(KeeperReport::closed, next.id);
    }
  }
  std::mutex mutex_;
  std::unordered_map<uint32_t, std::deque<Closing>> queues_;  // one for each thread that runs
};

class Keeper {
 public:
  // Until the service closes its end of the channel, or lets us go (true).
  [[nodiscard]] bool serve() {
    while (receive()) {
    }
    return let_go_;
  }
  // Their peers hear of the end at once; closing them is left to the end of the process.
  void tell_everybody() const {
    for (const auto& [id, held] : held_) {
      if (!held.given) static_cast<void>(::shutdown(held.fd, SHUT_RDWR));
    }
  }

 private:
  bool receive() {
    KeeperOrder order;
    iovec iov{.iov_base = &order, .iov_len = sizeof order};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(kKeeperChannel, &message, MSG_CMSG_CLOEXEC);
    // ECONNRESET is told once, of a service that died with reports unread; what it had said before is still here.
    if (n < 0) return errno == EINTR || errno == ECONNRESET;
    if (n != sizeof order) return false;
    int fd = -1;
    const cmsghdr* c = CMSG_FIRSTHDR(&message);
    if (c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
    }
    let_go_ = order.kind == KeeperOrder::leave;
    if (let_go_) return false;
    if (order.kind == KeeperOrder::hold) {
      // Without a descriptor left for it, it was dropped in recvmsg(2): the service still has it, until it hears of us.
      if (fd >= 0) held_[order.id] = {.fd = fd};
      report(fd >= 0 ? KeeperReport::held : KeeperReport::not_held, order.id);
      return true;
    }
    auto found = held_.find(order.id);
    if (found == held_.end()) return true;
    if (order.kind == KeeperOrder::given) {
      found->second.given = true;
      return true;
    }
    const Held closing = found->second;
    held_.erase(found);
    // Who has been given it still reads.
    if (closing.given || !closes_at_once(closing.fd)) {
      closers_.close(order.thread, {.id = order.id, .fd = closing.fd});
    } else {
      ::close(closing.fd);
      report(KeeperReport::closed, order.id);
    }
    return true;
  }

  struct Held {
    int fd = -1;
    bool given = false;
  };
  std::unordered_map<uint64_t, Held> held_;
  bool let_go_ = false;
  Closers closers_;
};

Result<> raise_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot read the limit of descriptors");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot raise the limit of descriptors");
  return {};
}

Result<> drop_everything() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    return fail_errno("cannot give up privileges");
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) < 0) return fail_errno("cannot give up capabilities");
  return {};
}

int run() {
  // Who made the channel is the service. It may have gone already: then our parent is another.
  ucred maker{};
  socklen_t size = sizeof maker;
  if (::getsockopt(kKeeperChannel, SOL_SOCKET, SO_PEERCRED, &maker, &size) < 0) return EXIT_FAILURE;
  UniqueFd service(static_cast<int>(::syscall(SYS_pidfd_open, maker.pid, 0)));
  if (!service || ::getppid() != maker.pid) return EXIT_SUCCESS;
  for (int ignored : {SIGHUP, SIGPIPE, SIGINT, SIGTERM}) ::signal(ignored, SIG_IGN);
  auto ready = raise_limit();
  if (ready) ready = drop_everything();
  if (!ready) {
    std::fprintf(stderr, "wrapd-keeper: %s; it is started by wrapd, not by hand\n", ready.error().message.c_str());
    return EXIT_FAILURE;
  }
  // Lives to the end of the process: threads use it.
  auto* keeper = new Keeper;
  if (keeper->serve()) return EXIT_SUCCESS;
  keeper->tell_everybody();
  // The end of the channel comes before the end of the service: until then its copies are there.
  pollfd end{.fd = service.get(), .events = POLLIN, .revents = 0};
  while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
  }
  if (::fcntl(kKeeperListener, F_GETFD) >= 0) std::this_thread::sleep_for(kListenerStays);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace wrapd::daemon

int main() {
  const int status = wrapd::daemon::run();
  ::_exit(status);
}
