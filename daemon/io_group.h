// SPDX-License-Identifier: Apache-2.0
#pragma once

// Many descriptors as one source of the loop. The loop asks the kernel for all that is ready before each single handler
// that it calls: with thousands that are ready at once, as when a crowd hangs up, that would cost the square of their
// number.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"

namespace wrapd::daemon {

class IoGroup {
 public:
  // `handler` gets the key of a descriptor that is readable, or has ended.
  [[nodiscard]] static Result<std::unique_ptr<IoGroup>> create(EventLoop& loop, std::function<void(uint64_t)> handler);

  // The descriptor stays the caller's, who takes it out before closing it. A key that was taken out may still come
  // once.
  [[nodiscard]] Result<> add(int fd, uint64_t key);
  void remove(int fd) noexcept;

 private:
  static constexpr int kAtOnce = 64;
  IoGroup() = default;
  void dispatch();

  UniqueFd epoll_;
  std::function<void(uint64_t)> handler_;
  EventSource source_;
};

}  // namespace wrapd::daemon
