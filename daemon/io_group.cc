// SPDX-License-Identifier: Apache-2.0
#include "daemon/io_group.h"

#include <sys/epoll.h>

#include <cerrno>

namespace wrapd::daemon {

Result<std::unique_ptr<IoGroup>> IoGroup::create(EventLoop& loop, std::function<void(uint64_t)> handler) {
  std::unique_ptr<IoGroup> group(new IoGroup);
  group->handler_ = std::move(handler);
  group->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!group->epoll_) return fail_errno("cannot make an epoll instance");
  auto source = loop.on_io(group->epoll_.get(), EPOLLIN, [group = group.get()](uint32_t) { group->dispatch(); });
  if (!source) return std::unexpected(source.error());
  group->source_ = std::move(*source);
  return group;
}

Result<> IoGroup::add(int fd, uint64_t key) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = key}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return fail_errno("cannot watch a descriptor");
  return {};
}

void IoGroup::remove(int fd) noexcept {
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));  // ENOENT: it was not in
}

void IoGroup::dispatch() {
  std::array<epoll_event, kAtOnce> ready;
  const int count = ::epoll_wait(epoll_.get(), ready.data(), kAtOnce, 0);
  for (int i = 0; i < count; ++i) handler_(ready[static_cast<size_t>(i)].data.u64);
}

}  // namespace wrapd::daemon
