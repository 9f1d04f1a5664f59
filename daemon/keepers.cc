// SPDX-License-Identifier: Apache-2.0
#include "daemon/keepers.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
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
constexpr std::chrono::milliseconds kPause{100};
constexpr size_t kOwnDescriptors = 64;  // more than a keeper has besides connections

std::string_view bytes_of(const KeeperOrder& order) {
  return {reinterpret_cast<const char*>(&order), sizeof order};
}

bool means_gone(const Error& error) {
  return error.code == EPIPE || error.code == ECONNRESET;
}

bool writable(int fd) {
  pollfd polled{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&polled, 1, 0) == 1 && (polled.revents & POLLOUT) != 0;
}

}  // namespace

Keepers::~Keepers() = default;

// A keeper without a descriptor left could not take what it is given. It has our limit.
Result<size_t> Keepers::room_in_keeper() const {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return fail_errno("cannot read the limit of descriptors");
  // Where it is very low, half of it: a keeper can do with less, and says so when it cannot hold any more.
  const rlim_t own = std::min<rlim_t>(kOwnDescriptors, files.rlim_max / 2);
  return static_cast<size_t>(std::min<rlim_t>(limits_.held, files.rlim_max - own));
}

Result<std::unique_ptr<Keepers::Keeper>> Keepers::spawn() {
  auto room = room_in_keeper();
  if (!room) return std::unexpected(room.error());
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
  keeper->room = *room;
  auto reports = loop_.on_io(
      keeper->channel.get(), EPOLLIN,
      [this, borrowed = keeper.get()](uint32_t events) { on_channel(*borrowed, events); }, EventLoop::kSessions);
  if (!reports) return std::unexpected(reports.error());
  keeper->reports = std::move(*reports);
  auto end =
      loop_.on_io(keeper->pidfd.get(), EPOLLIN, [this, borrowed = keeper.get()](uint32_t) { on_end(*borrowed); });
  if (!end) return std::unexpected(end.error());
  keeper->end = std::move(*end);
  return keeper;
}

Result<> Keepers::ready() {
  // Also of use to who takes many and does not come back to the loop in between.
  if (current_) take_reports(*current_);
  hold_again();
  if (!without_keeper_.empty()) return fail("connections wait for a keeper", EAGAIN);
  return find_room();
}

Result<> Keepers::find_room() {
  if (current_ && !current_->gone && current_->held >= current_->room) {
    if (left_behind_.size() >= limits_.left_behind) {
      return fail("too many connections cannot be closed; what comes has to wait", EAGAIN);
    }
    std::fprintf(stderr, "wrapd: %zu connections of strangers cannot be closed; their keeper is left behind\n",
                 current_->held);
    left_behind_.push_back(std::move(current_));
    if (left_behind_.back()->held == 0) dismiss(*left_behind_.back());
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

Result<> Keepers::send_hold(uint64_t id, Connection& connection) {
  const KeeperOrder hold{.kind = KeeperOrder::hold, .thread = 0, .id = id};
  auto sent = wire::send_packet(current_->channel.get(), bytes_of(hold), {&connection.socket, 1}, true);
  if (!sent) {
    if (means_gone(sent.error())) replace_lost(*current_);
    return sent;
  }
  connection.keeper = current_.get();
  ++current_->held;
  if (connection.given) order(*current_, {.kind = KeeperOrder::given, .thread = 0, .id = id});
  return {};
}

uint64_t Keepers::hold(int socket) {
  const uint64_t id = next_++;
  Connection& connection = connections_[id];
  connection.socket = socket;
  without_keeper_.push_back(id);
  hold_again();
  return id;
}

Result<> Keepers::give(uint64_t id) {
  auto found = connections_.find(id);
  if (found == connections_.end()) return fail("a connection that is not held cannot be given");
  Connection& connection = found->second;
  connection.given = true;  // who holds it again is told, too
  if (connection.keeper == nullptr) return {};
  const KeeperOrder given{.kind = KeeperOrder::given, .thread = 0, .id = id};
  auto sent = wire::send_packet(connection.keeper->channel.get(), bytes_of(given), {}, true);
  if (!sent && !means_gone(sent.error()))
    return fail("the keeper of connections does not hear: " + sent.error().message);
  if (!sent) replace_lost(*connection.keeper);
  return {};
}

void Keepers::close(uint64_t id, UniqueFd socket, uint32_t thread, Quota::Ticket ticket) {
  auto found = connections_.find(id);
  if (found == connections_.end()) {
    // Nobody holds it. Better a descriptor that stays open than a service that stands still.
    static_cast<void>(socket.release());
    return;
  }
  Connection& connection = found->second;
  connection.closing = true;
  connection.ours = std::move(socket);
  connection.thread = thread;
  connection.ticket = std::move(ticket);
  if (connection.held) order_close(id, connection);
}

void Keepers::order_close(uint64_t id, Connection& connection) {
  connection.ours.reset();
  order(*connection.keeper, {.kind = KeeperOrder::close, .thread = connection.thread, .id = id});
}

void Keepers::order(Keeper& keeper, KeeperOrder order) {
  keeper.unsent.push_back(order);
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
    take_report(keeper, report);
  }
}

void Keepers::take_report(Keeper& keeper, const KeeperReport& report) {
  auto found = connections_.find(report.id);
  if (found == connections_.end() || found->second.keeper != &keeper) return;
  Connection& connection = found->second;
  if (report.kind == KeeperReport::held) {
    connection.held = true;
    if (connection.closing) order_close(report.id, connection);
    return;
  }
  --keeper.held;
  if (report.kind == KeeperReport::not_held) {
    keeper.room = keeper.held;  // whatever its limit said
    note_short_life(keeper);
    wait_for_keeper(report.id, connection);
  } else {
    connections_.erase(found);
  }
  if (keeper.held == 0 && current_.get() != &keeper) dismiss(keeper);
}

void Keepers::on_end(Keeper& keeper) {
  keeper.end.reset();
  keeper.ended = true;
  replace_lost(keeper);
  // Not now: this is one of its handlers.
  if (auto timer = loop_.after(std::chrono::milliseconds(0), [this] { forget_ended(); })) tidying_ = std::move(*timer);
}

void Keepers::note_short_life(const Keeper& keeper) {
  const auto now = std::chrono::steady_clock::now();
  if (now - keeper.started < kShortLife) not_before_ = now + kShortLife;
}

// Its end: what it closed, or waits for in its end, is no longer counted.
void Keepers::replace_lost(Keeper& lost) {
  lost.reports.reset();
  if (std::exchange(lost.gone, true)) return;
  lost.held = 0;
  if (current_.get() == &lost) {
    std::fprintf(stderr, "wrapd: the keeper of connections has died; another one takes its place\n");
    left_behind_.push_back(std::move(current_));
    note_short_life(lost);
  }
  for (auto it = connections_.begin(); it != connections_.end();) {
    auto& [id, connection] = *it;
    const bool its = connection.keeper == &lost;
    if (its && connection.closing && connection.held) {
      it = connections_.erase(it);
      continue;
    }
    if (its) wait_for_keeper(id, connection);
    ++it;
  }
}

void Keepers::wait_for_keeper(uint64_t id, Connection& connection) {
  connection.keeper = nullptr;
  connection.held = false;
  without_keeper_.push_back(id);
  // Not now: who calls may be about to close it, or hold another one.
  if (!holding_again_.active()) hold_again_later(std::chrono::milliseconds(0));
}

void Keepers::hold_again() {
  while (!without_keeper_.empty()) {
    const uint64_t id = without_keeper_.front();
    if (auto room = find_room(); !room) {
      if (room.error().code != EAGAIN) std::fprintf(stderr, "wrapd: %s\n", room.error().message.c_str());
      return hold_again_later(kPause);
    }
    if (!send_hold(id, connections_.at(id))) return hold_again_later(current_ ? kPause : std::chrono::milliseconds(0));
    without_keeper_.pop_front();
  }
  holding_again_.reset();
}

void Keepers::hold_again_later(std::chrono::milliseconds delay) {
  auto timer = loop_.after(delay, [this] { hold_again(); });
  if (timer) holding_again_ = std::move(*timer);  // else ready() does it
}

void Keepers::let_go() {
  if (!current_ || current_->held > 0) return;
  left_behind_.push_back(std::move(current_));
  dismiss(*left_behind_.back());
}

// It holds nothing and gets nothing any more.
void Keepers::dismiss(Keeper& keeper) {
  if (std::exchange(keeper.gone, true)) return;
  order(keeper, {.kind = KeeperOrder::leave, .thread = 0, .id = 0});
}

void Keepers::forget_ended() {
  std::erase_if(left_behind_, [](const std::unique_ptr<Keeper>& keeper) {
    return keeper->ended && reap(keeper->pidfd.get()).has_value();
  });
}

}  // namespace wrapd::daemon
