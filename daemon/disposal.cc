// SPDX-License-Identifier: Apache-2.0
#include "daemon/disposal.h"

#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

namespace wrapd::daemon {
namespace {

constexpr size_t kThreads = 4;
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();  // accept(2) bounds what waits
constexpr int kNudge = SIGURG;
constexpr long kNudgeEvery = 500'000;  // nanoseconds

// While it lives the calling thread gets a signal many times a second: waits that a signal ends (SO_LINGER's) do not
// last. Without a timer they last as long as their makers want, on this thread alone.
class Nudges {
 public:
  Nudges() {
    struct sigevent event {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kNudge;
    event._sigev_un._tid = ::gettid();
    made_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
    const itimerspec often{.it_interval = {0, kNudgeEvery}, .it_value = {0, kNudgeEvery}};
    if (made_) static_cast<void>(::timer_settime(timer_, 0, &often, nullptr));
  }
  ~Nudges() {
    if (made_) ::timer_delete(timer_);
  }
  Nudges(const Nudges&) = delete;
  Nudges& operator=(const Nudges&) = delete;

 private:
  timer_t timer_{};
  bool made_ = false;
};

struct Doomed {
  UniqueFd fd;
  Quota::Ticket ticket;

  Doomed(UniqueFd doomed, Quota::Ticket its) : fd(std::move(doomed)), ticket(std::move(its)) {}
  Doomed(const Doomed&) = delete;
  Doomed& operator=(const Doomed&) = delete;
  // Nobody came to close it.
  ~Doomed() { static_cast<void>(fd.release()); }
};

}  // namespace

Result<std::unique_ptr<Disposal>> Disposal::create(EventLoop& loop) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  if (::sigaction(kNudge, &action, nullptr) < 0) return fail_errno("cannot set up a signal");
  std::unique_ptr<Disposal> disposal(new Disposal);
  auto worker = Worker::create(loop, kThreads, kNoLimit);
  if (!worker) return std::unexpected(worker.error());
  disposal->worker_ = std::move(*worker);
  return disposal;
}

void Disposal::close(UniqueFd fd, Quota::Ticket ticket) {
  auto doomed = std::make_shared<Doomed>(std::move(fd), std::move(ticket));
  ++open_;
  auto submitted = worker_->submit([this, doomed]() -> Worker::Completion {
    Nudges nudges;
    doomed->fd.reset();
    return [this, doomed] {
      doomed->ticket = {};  // on the loop's thread, as all counting
      --open_;
    };
  });
  // No thread can be had. Better a descriptor that stays open than a service that stands still.
  if (!submitted) --open_;
}

Result<Waiting> look_at_next(int socket) {
  char byte = 0;
  iovec iov{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  ssize_t n;
  // Peeking, MSG_TRUNC asks for the whole length; without room for descriptors MSG_CTRUNC tells that there are some.
  do n = ::recvmsg(socket, &message, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot receive a message");
  return Waiting{.size = static_cast<size_t>(n), .brings_descriptors = (message.msg_flags & MSG_CTRUNC) != 0};
}

}  // namespace wrapd::daemon
