// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::wire {

// One SOCK_SEQPACKET message and the descriptors that came with it, all close-on-exec. An empty `bytes` without
// descriptors is the end of the connection.
struct Packet {
  std::string bytes;
  std::vector<UniqueFd> fds;
  [[nodiscard]] bool eof() const { return bytes.empty() && fds.empty(); }
};

inline constexpr size_t kMostFds = 253;  // of one message: SCM_MAX_FD, include/net/scm.h

// Two ends of a SOCK_SEQPACKET connection, close-on-exec.
struct PacketPair {
  UniqueFd ours;
  UniqueFd theirs;  // waits
};
enum class OurEnd : bool { waits, does_not_wait };
[[nodiscard]] Result<PacketPair> make_packet_pair(OurEnd ours);

// Sends one message, whole or not at all, without SIGPIPE. EAGAIN if `dont_wait` and the peer's queue is full.
[[nodiscard]] Result<> send_packet(int socket, std::string_view bytes, std::span<const int> fds, bool dont_wait);

// Receives one message without waiting (EAGAIN if there is none). A message longer than `limit` (EMSGSIZE), with more
// than `max_fds` descriptors or with descriptors the kernel had to cut (EPROTO), is an error; everything that came with
// it is closed.
[[nodiscard]] Result<Packet> receive_packet(int socket, size_t limit, size_t max_fds);

}  // namespace wrapd::wire
