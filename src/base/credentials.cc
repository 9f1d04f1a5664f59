// SPDX-License-Identifier: Apache-2.0
#include "base/credentials.h"

#include <poll.h>
#include <sys/socket.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // include/uapi/asm-generic/socket.h, Linux 6.5
#endif

namespace wrapd {

Result<PeerCredentials> peer_credentials(int socket, bool with_groups) {
  struct ucred cred {};
  socklen_t length = sizeof cred;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
    return fail_errno("cannot read peer credentials");
  // A socket that never connected answers pid 0 and uid -1.
  if (cred.pid <= 0 || cred.uid == static_cast<uid_t>(-1)) return fail("peer has no credentials", ENODATA);
  PeerCredentials peer{.pid = cred.pid, .uid = cred.uid, .gid = cred.gid, .groups = {}};
  if (!with_groups) return peer;
  peer.groups.resize(64);
  for (;;) {
    length = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
    int rc = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length);
    if (rc < 0 && errno == ERANGE) {
      peer.groups.resize(length / sizeof(gid_t));
      continue;
    }
    if (rc < 0) return fail_errno("cannot read peer groups");
    peer.groups.resize(length / sizeof(gid_t));
    return peer;
  }
}

Result<UniqueFd> peer_pidfd(int socket) {
  int fd = -1;
  socklen_t length = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &length) == 0) return UniqueFd(fd);
  return fail_errno("cannot get the peer's pidfd");
}

bool pidfd_alive(int pidfd) noexcept {
  struct pollfd p {
    .fd = pidfd, .events = POLLIN, .revents = 0
  };
  int n;
  do n = ::poll(&p, 1, 0);
  while (n < 0 && errno == EINTR);
  return n == 0;
}

}  // namespace wrapd
