// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd {

// Who is at the other end of a connected AF_UNIX socket, as the kernel recorded it when the peer connected (unix(7):
// SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD). uid and gid are the peer's effective ids.
struct PeerCredentials {
  pid_t pid = 0;  // decoration, except together with `pidfd`
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;  // supplementary; empty unless asked for
};

[[nodiscard]] Result<PeerCredentials> peer_credentials(int socket, bool with_groups);

// A pidfd of the process that connected (SO_PEERPIDFD). ENOPROTOOPT before Linux 6.5.
[[nodiscard]] Result<UniqueFd> peer_pidfd(int socket);

// False once the process behind `pidfd` has exited.
[[nodiscard]] bool pidfd_alive(int pidfd) noexcept;

}  // namespace wrapd
