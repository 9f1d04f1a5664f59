// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/bound_sockets.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace wrapd::supervisor {
namespace {

constexpr size_t kMaxBound = 1024;

}  // namespace

BoundSockets::Binding::Binding(BoundSockets& sockets, int socket)
    : sockets_(sockets), cookie_(sockets.cookie_of(socket)) {
  sockets_.begin(cookie_);
}

BoundSockets::Binding::~Binding() {
  sockets_.end(cookie_, std::move(path_), std::move(file_));
}

void BoundSockets::Binding::bound_at(std::string path, UniqueFd file) {
  path_ = std::move(path);
  file_ = std::move(file);
}

uint64_t BoundSockets::cookie_of(int socket) {
  uint64_t cookie = 0;
  return kernel_.socket_option(socket, SO_COOKIE, &cookie, sizeof cookie) < 0 ? 0 : cookie;
}

BoundSockets::Bound* BoundSockets::find(uint64_t cookie) {
  auto found = std::ranges::find(bound_, cookie, &Bound::cookie);
  return found == bound_.end() ? nullptr : &*found;
}

void BoundSockets::begin(uint64_t cookie) {
  std::lock_guard lock(lock_);
  if (Bound* known = find(cookie)) {
    ++known->binding;
    return;
  }
  if (bound_.size() >= look_again_at_) forget_closed();
  if (bound_.size() == kMaxBound) {
    bound_.pop_front();
    forgotten_ = true;
  }
  bound_.push_back({.cookie = cookie, .binding = 1});
}

// A file keeps no socket alive, and is held by as few closed ones as live ones.
void BoundSockets::forget_closed() {
  std::erase_if(bound_, [&](const Bound& bound) {
    return bound.binding == 0 && bound.file && kernel_.is_abandoned_socket(bound.file.get());
  });
  look_again_at_ = std::clamp(2 * bound_.size(), size_t{16}, kMaxBound);
}

void BoundSockets::end(uint64_t cookie, std::optional<std::string> path, UniqueFd file) {
  std::lock_guard lock(lock_);
  Bound* known = find(cookie);
  if (known == nullptr) return;  // many binds came between: it fell out
  --known->binding;
  if (path) {
    known->bound = true;
    known->path = std::move(*path);
    known->file = std::move(file);
  } else if (!known->bound && known->binding == 0) {
    std::erase_if(bound_, [&](const Bound& bound) { return bound.cookie == cookie; });
  }
}

std::optional<BoundSockets::Known> BoundSockets::recall(int socket) {
  uint64_t cookie = cookie_of(socket);
  std::lock_guard lock(lock_);
  if (const Bound* known = find(cookie)) return Known{.path = known->path};
  // It may be one that was bound here, and its own word is not to be believed.
  if (forgotten_) return Known{.fell_out = true, .path = {}};
  return std::nullopt;
}

}  // namespace wrapd::supervisor
