// SPDX-License-Identifier: Apache-2.0
#pragma once

// Closing strangers' connections. What lies unread in one may hold descriptors, and the last close(2) of a descriptor
// can wait for its maker, in a sleep that no signal ends (a file of a FUSE server with a writeback cache), also
// where it was never received. It would wait in the service, in its end, or in the service manager, which has the
// control socket and with it all connections that nobody has accepted.
//
// Since Linux 6.16 the control socket refuses descriptors (rights.h): such a connection can be closed by anybody. Every
// other one (older kernels, and what connected before the service had told the socket) is given to a keeper before the
// service does anything with it: a process that closes last, and that nobody waits for (keepers.h).
//
// What is left on older kernels: a service that is killed between accept(2) and the next send(2), or while it waits for
// a new keeper instead of one that died, and a service manager that stops the control socket while no service runs, may
// close last.

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/keepers.h"
#include "daemon/quota.h"

namespace wrapd::daemon {

class ConnectionCloser {
 public:
  // Tells `listener` (borrowed) to refuse descriptors. `keeper` is the program of a keeper.
  [[nodiscard]] static Result<std::unique_ptr<ConnectionCloser>> create(EventLoop& loop, std::string keeper,
                                                                        int listener);

  // Who is responsible for a connection; copied with care: it is given to close() once.
  struct Hold {
    uint64_t kept = 0;  // 0: no descriptor can come with it
  };
  // Success: a connection that is accepted now can be taken.
  [[nodiscard]] Result<> ready();
  // When ready(), and first of all, of every connection that was accepted.
  [[nodiscard]] Hold take(int socket);
  // Before somebody else gets a copy, whom the end of the service is not to disturb.
  [[nodiscard]] Result<> give(Hold hold) { return hold.kept == 0 ? Result<>() : keepers_.give(hold.kept); }
  // `ticket` is given back when `fd` is closed by everybody here. `user` tells whose connections wait for each other.
  void close(UniqueFd fd, Hold hold, uint64_t user, Quota::Ticket ticket = {});

 private:
  ConnectionCloser(EventLoop& loop, std::string keeper) : loop_(loop), keepers_(loop, std::move(keeper), {}) {}
  void let_go_later();

  EventLoop& loop_;
  Keepers keepers_;
  bool refusing_ = false;
  EventSource letting_go_;
};

// What a connection holds for us, without taking any of it.
struct Waiting {
  size_t size = 0;  // of the first message, whole; 0: the end of the connection, or an empty message
  bool brings_descriptors = false;
};
// EAGAIN if there is nothing.
[[nodiscard]] Result<Waiting> look_at_next(int socket);

// Sends one error reply and reads away what the peer has sent: unread data would turn the reply into a reset. Closing
// `socket` may block all the same.
void send_refusal(int socket, const std::string& code, const std::string& message);

}  // namespace wrapd::daemon
