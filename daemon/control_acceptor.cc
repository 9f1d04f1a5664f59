// SPDX-License-Identifier: Apache-2.0
#include "daemon/control_acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <utility>

namespace wrapd::daemon {
namespace {

constexpr int kBatch = 16;
constexpr std::chrono::milliseconds kPause{100};
constexpr std::chrono::milliseconds kBusyPause{5};

UniqueFd spare_descriptor() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

Result<> ControlAcceptor::start() {
  reserve_ = spare_descriptor();
  if (!reserve_) return fail_errno("cannot open /dev/null");
  return listen();
}

Result<> ControlAcceptor::listen() {
  auto source = loop_.on_io(
      control_.get(), EPOLLIN, [this](uint32_t) { accept_some(); }, EventLoop::kNewConnections);
  if (!source) return std::unexpected(source.error());
  source_ = std::move(*source);
  return {};
}

void ControlAcceptor::accept_some() {
  for (int i = 0; i < kBatch; ++i) {
    if (auto ready = closer_.ready(); !ready) {
      if (ready.error().code != EAGAIN) std::fprintf(stderr, "wrapd: %s\n", ready.error().message.c_str());
      return pause(ready.error().code == EAGAIN ? kBusyPause : kPause);
    }
    UniqueFd socket(::accept4(control_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      receive(std::move(socket), reception_.admit);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) on_failure(errno);
    return;
  }
}

void ControlAcceptor::receive(UniqueFd socket, const Reception::Door& door) {
  const auto hold = closer_.take(socket.get());
  door(std::move(socket), hold);
}

void ControlAcceptor::on_failure(int error) {
  const bool full = error == EMFILE || error == ENFILE;
  if (full && refuse_one()) return;
  std::fprintf(stderr, "wrapd: cannot accept: %s\n", fail_errno("accept", error).error().message.c_str());
  pause(kPause);
}

// The descriptor that is kept for this moment takes the connection's place, so that the caller hears why.
bool ControlAcceptor::refuse_one() {
  if (!reserve_) return false;
  reserve_.reset();
  UniqueFd socket(::accept4(control_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket) receive(std::move(socket), reception_.turn_away);
  reserve_ = spare_descriptor();
  return reserve_.valid();
}

void ControlAcceptor::pause(std::chrono::milliseconds length) {
  auto timer = loop_.after(length, [this] {
    pause_.reset();
    if (!reserve_) reserve_ = spare_descriptor();
    if (auto listening = listen(); !listening) pause(kPause);
  });
  if (!timer) return;  // keeps trying, at the cost of the processor
  pause_ = std::move(*timer);
  source_.reset();
}

}  // namespace wrapd::daemon
