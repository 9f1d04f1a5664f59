// SPDX-License-Identifier: Apache-2.0
#include "daemon/connection_closer.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "daemon/rights.h"
#include "wire/control.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

// By then what connected before the control socket refused descriptors has been accepted.
constexpr std::chrono::seconds kLetGoAfter{10};

}  // namespace

Result<std::unique_ptr<ConnectionCloser>> ConnectionCloser::create(EventLoop& loop, std::string keeper, int listener) {
  std::unique_ptr<ConnectionCloser> closer(new ConnectionCloser(loop, std::move(keeper)));
  const bool refused_before = rights_refused(listener);
  closer->refusing_ = refused_before || refuse_rights(listener).has_value();
  if (refused_before) return closer;
  if (!closer->refusing_) closer->keepers_.lend(listener);
  // Some may have connected already. A service that cannot hold what it has to hold is none.
  if (auto ready = closer->keepers_.ready(); !ready) return std::unexpected(ready.error());
  if (closer->refusing_) closer->let_go_later();
  return closer;
}

void ConnectionCloser::let_go_later() {
  auto timer = loop_.after(kLetGoAfter, [this] {
    letting_go_.reset();
    keepers_.let_go();
    if (keepers_.held() > 0) let_go_later();
  });
  if (timer) letting_go_ = std::move(*timer);  // else it stays
}

Result<> ConnectionCloser::ready() {
  return refusing_ ? Result<>() : keepers_.ready();
}

ConnectionCloser::Hold ConnectionCloser::take(int socket) {
  if (rights_refused(socket)) return {};
  const Hold hold{.kept = keepers_.hold(socket)};
  if (refusing_ && !letting_go_.active()) let_go_later();
  return hold;
}

void ConnectionCloser::close(UniqueFd fd, Hold hold, uint64_t user, Quota::Ticket ticket) {
  if (hold.kept == 0) return fd.reset();
  keepers_.close(hold.kept, std::move(fd), static_cast<uint32_t>(user), std::move(ticket));
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

void send_refusal(int socket, const std::string& code, const std::string& message) {
  constexpr int kMaxUnread = 64;
  // What comes from now on fails at the sender (EPIPE) instead of lying here unread. A peer that has gone does not
  // mind.
  static_cast<void>(::shutdown(socket, SHUT_RD));
  for (int i = 0; i < kMaxUnread; ++i) {
    auto next = look_at_next(socket);
    if (!next || next->size == 0 || next->brings_descriptors) break;
    char byte;
    static_cast<void>(::recv(socket, &byte, 1, MSG_DONTWAIT));
  }
  auto sent = wire::send_packet(socket, wire::encode(wire::ErrorReply{.code = code, .message = message}), {}, true);
  // A peer that has gone does not need to be told; one that does not read has only itself to blame.
  static_cast<void>(sent);
}

}  // namespace wrapd::daemon
