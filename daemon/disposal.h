// SPDX-License-Identifier: Apache-2.0
#pragma once

// Closing what strangers sent. The last close(2) of a descriptor can wait for whoever made it: a TCP socket with
// SO_LINGER waits for its peer, a file on a FUSE file system for its server. It makes no difference whether we received
// the descriptor, or close a connection in which it lies unread. So both happen on threads of their own.
//
// What lies unread waits at most until a signal comes, and signals come all the time: a few threads are enough. A
// received descriptor is closed like any other, and then FUSE is asked, which no signal ends: these threads can be
// stuck.

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/quota.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

class Disposal {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Disposal>> create(EventLoop& loop);

  // `ticket` is given back when all is closed: until then it counts against the user who sent it.
  void close_received(std::vector<UniqueFd> fds, Quota::Ticket ticket);
  // A connection with messages that were not received.
  void close_unread(UniqueFd socket);
  [[nodiscard]] bool idle() const { return tickets_.empty(); }

 private:
  Disposal() = default;
  void submit(Worker& worker, std::vector<UniqueFd> fds, Quota::Ticket ticket);

  std::unordered_map<uint64_t, Quota::Ticket> tickets_;
  uint64_t next_ = 1;
  std::unique_ptr<Worker> received_;
  std::unique_ptr<Worker> unread_;
};

// What a connection holds for us, without taking any of it.
struct Waiting {
  size_t size = 0;  // of the first message, whole; 0: the end of the connection, or an empty message
  bool brings_descriptors = false;
};
// EAGAIN if there is nothing.
[[nodiscard]] Result<Waiting> look_at_next(int socket);

}  // namespace wrapd::daemon
