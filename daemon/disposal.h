// SPDX-License-Identifier: Apache-2.0
#pragma once

// Closing strangers' connections. What lies unread in one may hold descriptors, and the last close(2) of a descriptor
// can wait for whoever made it (a TCP socket with SO_LINGER waits for its peer), also where it was never received.
// Whether there are any cannot be told: an empty message looks like the end of the connection. So this happens on
// threads of its own, always. Such a wait ends when a signal comes, and signals come all the time: a few threads are
// enough. (What was received is flushed when it is closed, and a FUSE file system's flush is a wait that no signal
// ends. The service receives no descriptors of strangers.)
//
// What is not closed when this ends is left open: the end of the process closes it, and that waits for no peer.

#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/quota.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

class Disposal {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Disposal>> create(EventLoop& loop);

  // `ticket` is given back when `fd` is closed.
  void close(UniqueFd fd, Quota::Ticket ticket = {});
  [[nodiscard]] bool idle() const { return open_ == 0; }

 private:
  Disposal() = default;

  size_t open_ = 0;
  std::unique_ptr<Worker> worker_;
};

// What a connection holds for us, without taking any of it.
struct Waiting {
  size_t size = 0;  // of the first message, whole; 0: the end of the connection, or an empty message
  bool brings_descriptors = false;
};
// EAGAIN if there is nothing.
[[nodiscard]] Result<Waiting> look_at_next(int socket);

}  // namespace wrapd::daemon
