// SPDX-License-Identifier: Apache-2.0

// One message with its descriptors. The receiving side assumes nothing of the peer: it may send too much, send more
// descriptors than asked for, or (where it made the socket pair and passed one end on) have switched on ancillary data
// that we did not ask for, as SO_PASSCRED, SO_PASSSEC and SO_PASSPIDFD belong to the open file, not to our descriptor.
// Whatever arrives is owned before it is judged, so that no way out leaks a descriptor.

#include "wire/packet.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04  // include/linux/socket.h, Linux 6.5
#endif

namespace wrapd::wire {
namespace {

constexpr size_t kOtherAncillary = 1024U;  // credentials, a security label, a pidfd
constexpr size_t kSmall = 1024U;           // room for a message of this size is not worth a question

// Takes every descriptor out of the ancillary data: those sent, and those the kernel added.
void take_descriptors(msghdr& message, std::vector<UniqueFd>& fds, std::vector<UniqueFd>& unasked) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != SCM_PIDFD)) continue;
    std::vector<UniqueFd>& to = c->cmsg_type == SCM_RIGHTS ? fds : unasked;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (fd >= 0) to.emplace_back(fd);
    }
  }
}

// How long the next message is, at most `limit`: most are short, and room for the longest is many pages to be touched.
// SO_PEEK_OFF, which also belongs to the open file, makes the answer too small, and a message that does not fit is
// refused, not cut.
Result<size_t> room_for_next(int socket, size_t limit) {
  if (limit <= kSmall) return limit;
  ssize_t n;
  do n = ::recv(socket, nullptr, 0, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot receive a message");
  return std::min(static_cast<size_t>(n), limit);
}

}  // namespace

Result<PacketPair> make_packet_pair(OurEnd ours) {
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    return fail_errno("cannot make a socket pair");
  }
  PacketPair pair{.ours = UniqueFd(ends[0]), .theirs = UniqueFd(ends[1])};
  if (ours == OurEnd::does_not_wait && ::fcntl(pair.ours.get(), F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
    return fail_errno("cannot set up a socket pair");
  }
  return pair;
}

Result<> send_packet(int socket, std::string_view bytes, std::span<const int> fds, bool dont_wait) {
  if (fds.size() > kMostFds) return fail("too many descriptors for one message", EINVAL);
  iovec iov{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFds * sizeof(int))> control;
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    std::memset(control.data(), 0, message.msg_controllen);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  ssize_t n;
  do n = ::sendmsg(socket, &message, MSG_NOSIGNAL | (dont_wait ? MSG_DONTWAIT : 0));
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot send a message");
  if (static_cast<size_t>(n) != bytes.size()) return fail("message was cut while it was sent", EMSGSIZE);
  return {};
}

Result<Packet> receive_packet(int socket, size_t limit, size_t max_fds) {
  auto room = room_for_next(socket, limit);
  if (!room) return std::unexpected(room.error());
  Packet packet;
  packet.bytes.resize(*room);
  iovec iov{.iov_base = packet.bytes.data(), .iov_len = *room};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFds * sizeof(int)) + kOtherAncillary> control;
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  // Room for little more than what is wanted: the kernel then does not even install the rest.
  message.msg_controllen = CMSG_SPACE((max_fds < kMostFds ? max_fds + 1 : kMostFds) * sizeof(int)) + kOtherAncillary;
  ssize_t n;
  do n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_errno("cannot receive a message");
  std::vector<UniqueFd> unasked;
  take_descriptors(message, packet.fds, unasked);
  if ((message.msg_flags & MSG_CTRUNC) != 0) return fail("descriptors of a message were cut", EPROTO);
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return fail("message is longer than " + std::to_string(limit) + " bytes", EMSGSIZE);
  }
  if (packet.fds.size() > max_fds) {
    return fail("message brings " + std::to_string(packet.fds.size()) + " descriptors, at most " +
                    std::to_string(max_fds) + " belong to it",
                EPROTO);
  }
  packet.bytes.resize(static_cast<size_t>(n));
  return packet;
}

}  // namespace wrapd::wire
