// SPDX-License-Identifier: Apache-2.0
#include "daemon/keepers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "daemon/supervisor_process.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

constexpr int kAboveTheFixed = 10;
constexpr int kReportsAtOnce = 64;
constexpr std::chrono::seconds kShortLife{1};

std::string_view bytes_of(const KeeperOrder& order) {
  return {reinterpret_cast<const char*>(&order), sizeof order};
}

bool writable(int fd) {
  pollfd polled{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&polled, 1, 0) == 1 && (polled.revents & POLLOUT) != 0;
}

}  // namespace

Keepers::~Keepers() = default;

Result<std::unique_ptr<Keepers::Keeper>> Keepers::spawn() {
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  if (!pair) return std::unexpected(pair.error());
  // Away from the numbers that they get in the keeper.
  const UniqueFd theirs(::fcntl(pair->theirs.get(), F_DUPFD_CLOEXEC, kAboveTheFixed));
  const UniqueFd listener(listener_ < 0 ? -1 : ::fcntl(listener_, F_DUPFD_CLOEXEC, kAboveTheFixed));
  if (!theirs || (listener_ >= 0 && !listener)) return fail_errno("cannot copy a descriptor for a keeper");
  std::string words[] = {"wrapd-keeper"};
  auto child = spawn_child(program_, words, [&](posix_spawn_file_actions_t* actions) {
    int rc = ::posix_spawn_file_actions_adddup2(actions, theirs.get(), kKeeperChannel);
    if (rc == 0 && listener) rc = ::posix_spawn_file_actions_adddup2(actions, listener.get(), kKeeperListener);
    if (rc == 0) rc = ::posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = ::posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
    return rc;
  });
  if (!child) return std::unexpected(child.error());
  auto keeper = std::make_unique<Keeper>();
  keeper->channel = std::move(pair->ours);
  keeper->pidfd = std::move(child->pidfd);
  auto source = loop_.on_io(
      keeper->channel.get(), EPOLLIN, [this, raw = keeper.get()](uint32_t events) { on_channel(*raw, events); },
      EventLoop::kSessions);
  if (!source) return std::unexpected(source.error());
  keeper->reports = std::move(*source);
  return keeper;
}

Result<> Keepers::ready() {
  if (current_ && !current_->gone && current_->held() >= limits_.held) {
    if (left_behind_.size() >= limits_.left_behind) {
      return fail("too many connections cannot be closed; what comes has to wait", EAGAIN);
    }
    std::fprintf(stderr, "wrapd: %zu connections of strangers cannot be closed; their keeper is left behind\n",
                 current_->held());
    left_behind_.push_back(std::move(current_));
  }
  if (!current_) {
    if (std::chrono::steady_clock::now() < not_before_) return fail("keepers of connections die at once", EAGAIN);
    auto keeper = spawn();
    if (!keeper) return fail("cannot hold connections: " + keeper.error().message, keeper.error().code);
    current_ = std::move(*keeper);
  }
  if (!writable(current_->channel.get())) return fail("the keeper of connections is busy", EAGAIN);
  return {};
}

Result<> Keepers::send_hold(Keeper& keeper, uint64_t id, int socket) {
  const KeeperOrder order{.kind = KeeperOrder::hold, .thread = 0, .id = id};
  return wire::send_packet(keeper.channel.get(), bytes_of(order), {&socket, 1}, true);
}

Result<uint64_t> Keepers::hold(int socket) {
  const uint64_t id = next_++;
  Result<> sent = fail("there is no keeper of connections");
  for (int attempt = 0; attempt < 2 && !sent; ++attempt) {
    if (auto there = ready(); !there) return std::unexpected(there.error());
    sent = send_hold(*current_, id, socket);
    if (!sent && sent.error().code == EAGAIN) break;
    if (!sent) replace_lost(*current_);
  }
  if (!sent) return fail("cannot hold a connection: " + sent.error().message, sent.error().code);
  current_->live.emplace(id, socket);
  keeper_of_[id] = current_.get();
  ++held_;
  return id;
}

Result<> Keepers::give(uint64_t id) {
  auto found = keeper_of_.find(id);
  if (found == keeper_of_.end()) return fail("the keeper of connections has died");
  const KeeperOrder order{.kind = KeeperOrder::given, .thread = 0, .id = id};
  return wire::send_packet(found->second->channel.get(), bytes_of(order), {}, true);
}

void Keepers::close(uint64_t id, UniqueFd socket, uint32_t thread, Quota::Ticket ticket) {
  auto found = keeper_of_.find(id);
  if (found == keeper_of_.end()) {
    // Its keeper died and no other could be had. Better a descriptor that stays open than a service that stands still.
    static_cast<void>(socket.release());
    return;
  }
  Keeper& keeper = *found->second;
  keeper_of_.erase(found);
  keeper.live.erase(id);
  keeper.closing.emplace(id, std::move(ticket));
  keeper.unsent.push_back({.kind = KeeperOrder::close, .thread = thread, .id = id});
  socket.reset();
  send_orders(keeper);
}

void Keepers::send_orders(Keeper& keeper) {
  while (!keeper.unsent.empty()) {
    auto sent = wire::send_packet(keeper.channel.get(), bytes_of(keeper.unsent.front()), {}, true);
    if (!sent && sent.error().code == EAGAIN) break;
    if (!sent) return;  // it has gone: its end of the channel tells
    keeper.unsent.pop_front();
  }
  const uint32_t events = keeper.unsent.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  if (auto watched = keeper.reports.watch_for(events); !watched) {
    std::fprintf(stderr, "wrapd: %s\n", watched.error().message.c_str());
  }
}

void Keepers::on_channel(Keeper& keeper, uint32_t events) {
  if ((events & EPOLLOUT) != 0) send_orders(keeper);
  take_reports(keeper);
}

void Keepers::take_reports(Keeper& keeper) {
  for (int i = 0; i < kReportsAtOnce; ++i) {
    KeeperReport report;
    const ssize_t n = ::recv(keeper.channel.get(), &report, sizeof report, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n != sizeof report) return replace_lost(keeper);
    // One that it could not hold is ours alone now. It is closed by nobody (see close()).
    if (report.kind == KeeperReport::not_held && keeper.live.erase(report.id) > 0) {
      keeper_of_.erase(report.id);
      --held_;
    }
    if (keeper.closing.erase(report.id) > 0) --held_;
  }
}

// Its end: what it closed, or waits for in its end, is no longer counted.
void Keepers::replace_lost(Keeper& lost) {
  if (std::exchange(lost.gone, true)) return;
  lost.reports.reset();
  held_ -= lost.held();
  lost.closing.clear();
  const auto live = std::exchange(lost.live, {});
  for (const auto& [id, socket] : live) keeper_of_.erase(id);
  if (current_.get() == &lost) {
    std::fprintf(stderr, "wrapd: the keeper of connections has died; another one takes its place\n");
    left_behind_.push_back(std::move(current_));
    const auto now = std::chrono::steady_clock::now();
    if (now - lost.started < kShortLife) not_before_ = now + kShortLife;
    if (auto next = ready(); !next) std::fprintf(stderr, "wrapd: %s\n", next.error().message.c_str());
  }
  for (const auto& [id, socket] : live) {
    if (!current_ || !send_hold(*current_, id, socket)) continue;
    current_->live.emplace(id, socket);
    keeper_of_[id] = current_.get();
    ++held_;
  }
  // Not now: we may be called from one of its handlers.
  if (auto timer = loop_.after(std::chrono::milliseconds(0), [this] { forget_finished(); })) {
    tidying_ = std::move(*timer);
  }
}

void Keepers::let_go() {
  forget_finished();
  if (!current_ || current_->held() > 0 || !current_->unsent.empty()) return;
  const KeeperOrder leave{.kind = KeeperOrder::leave, .thread = 0, .id = 0};
  if (!wire::send_packet(current_->channel.get(), bytes_of(leave), {}, true)) return;  // then it stays
  current_->gone = true;
  current_->reports.reset();
  left_behind_.push_back(std::move(current_));
}

// Reaped when they have ended, which may be never.
void Keepers::forget_finished() {
  std::erase_if(left_behind_, [](const std::unique_ptr<Keeper>& keeper) {
    if (!keeper->gone && keeper->held() == 0 && keeper->unsent.empty()) {
      const KeeperOrder leave{.kind = KeeperOrder::leave, .thread = 0, .id = 0};
      keeper->gone = wire::send_packet(keeper->channel.get(), bytes_of(leave), {}, true).has_value();
      keeper->reports.reset();
    }
    return keeper->gone && reap(keeper->pidfd.get()).has_value();
  });
}

}  // namespace wrapd::daemon
