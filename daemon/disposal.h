// SPDX-License-Identifier: Apache-2.0
#pragma once

// Closing connections in which something lies unread that strangers sent. The last close(2) of a descriptor can wait
// for whoever made it (a TCP socket with SO_LINGER waits for its peer), also where it was never received. So this
// happens on threads of its own. Such a wait ends when a signal comes, and signals come all the time: a few threads are
// enough. (What was received is flushed when it is closed, and a FUSE file system's flush is a wait that no signal
// ends. The service receives no descriptors of strangers.)

#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

class Disposal {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Disposal>> create(EventLoop& loop);

  void close(UniqueFd fd);
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
