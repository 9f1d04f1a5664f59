// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the service and a keeper (keeper_main.cc) say to each other: one of these per SOCK_SEQPACKET message. Both are
// of one build, and the service starts its keepers itself.

#include <cstdint>

namespace wrapd::daemon {

inline constexpr int kKeeperChannel = 3;
inline constexpr int kKeeperListener = 4;

struct KeeperOrder {
  enum Kind : uint32_t {
    hold = 1,   // one descriptor comes along
    given = 2,  // somebody else has the connection now: it outlives the service
    close = 3,
    leave = 4,  // nothing is held any more: end
  };
  uint32_t kind = 0;
  uint32_t thread = 0;  // close: those of one number are closed one after the other
  uint64_t id = 0;
};

// Of each connection: it is held, or cannot be; later, that it was closed.
struct KeeperReport {
  enum Kind : uint32_t { closed = 1, not_held = 2, held = 3 };
  uint32_t kind = 0;
  uint32_t reserved = 0;
  uint64_t id = 0;
};

}  // namespace wrapd::daemon
