// SPDX-License-Identifier: Apache-2.0
#include "daemon/disposal.h"

#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>
#include <utility>

namespace wrapd::daemon {
namespace {

constexpr size_t kReceivedThreads = 256;
constexpr size_t kUnreadThreads = 4;
constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();  // tickets and accept(2) bound what waits
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

}  // namespace

Result<std::unique_ptr<Disposal>> Disposal::create(EventLoop& loop) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  if (::sigaction(kNudge, &action, nullptr) < 0) return fail_errno("cannot set up a signal");
  std::unique_ptr<Disposal> disposal(new Disposal);
  for (auto [worker, threads] :
       std::array{std::pair{&disposal->received_, kReceivedThreads}, std::pair{&disposal->unread_, kUnreadThreads}}) {
    auto created = Worker::create(loop, threads, kNoLimit);
    if (!created) return std::unexpected(created.error());
    *worker = std::move(*created);
  }
  return disposal;
}

void Disposal::close_received(std::vector<UniqueFd> fds, Quota::Ticket ticket) {
  submit(*received_, std::move(fds), std::move(ticket));
}

void Disposal::close_unread(UniqueFd socket) {
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(socket));
  submit(*unread_, std::move(fds), {});
}

void Disposal::submit(Worker& worker, std::vector<UniqueFd> fds, Quota::Ticket ticket) {
  const uint64_t id = next_++;
  tickets_.emplace(id, std::move(ticket));
  auto shared = std::make_shared<std::vector<UniqueFd>>(std::move(fds));
  auto submitted = worker.submit([this, id, shared]() -> Worker::Completion {
    Nudges nudges;
    shared->clear();
    return [this, id] { tickets_.erase(id); };
  });
  if (submitted) return;
  // No thread can be had. Better a few descriptors that stay open than a service that stands still.
  for (UniqueFd& fd : *shared) static_cast<void>(fd.release());
  tickets_.erase(id);
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
