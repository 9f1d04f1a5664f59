// SPDX-License-Identifier: Apache-2.0
#pragma once

// The keepers' side in the service (keeper_main.cc): which connection is held where, and who is told to close it. One
// keeper takes what comes. One that has died is replaced, and what it held is held again. One that holds too much that
// it cannot close is left behind, and goes when it has nothing left; how many may be left behind is bounded.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop.h"
#include "daemon/keeper_channel.h"
#include "daemon/quota.h"

namespace wrapd::daemon {

class Keepers {
 public:
  struct Limits {
    size_t held = 65536;  // in one keeper
    size_t left_behind = 16;
  };
  Keepers(EventLoop& loop, std::string program, Limits limits)
      : loop_(loop), program_(std::move(program)), limits_(limits) {}
  // Borrowed: keepers get a copy from now on, so that somebody who can wait has the socket after us.
  void lend(int listener) { listener_ = listener; }
  ~Keepers();
  Keepers(const Keepers&) = delete;
  Keepers& operator=(const Keepers&) = delete;

  // Success: a keeper is there and has room. Else nothing is accepted that would have to be held.
  [[nodiscard]] Result<> ready();
  // Before anything else is done with `socket`. The number to give to close().
  [[nodiscard]] Result<uint64_t> hold(int socket);
  // Somebody else gets the connection, whom the end of the service is not to disturb.
  [[nodiscard]] Result<> give(uint64_t id);
  // Our own copy is closed now, at once: it is not the last. `ticket` is given back when the keeper has closed its own.
  void close(uint64_t id, UniqueFd socket, uint32_t thread, Quota::Ticket ticket);
  // How many are held, those that wait to be closed included.
  [[nodiscard]] size_t held() const noexcept { return held_; }
  // A keeper with nothing left to hold ends.
  void let_go();

 private:
  struct Keeper {
    UniqueFd channel;
    UniqueFd pidfd;
    EventSource reports;
    std::unordered_map<uint64_t, int> live;               // ours, by the connection's number
    std::unordered_map<uint64_t, Quota::Ticket> closing;  // told, or about to be told
    std::deque<KeeperOrder> unsent;
    bool gone = false;
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    [[nodiscard]] size_t held() const { return live.size() + closing.size(); }
  };
  [[nodiscard]] Result<std::unique_ptr<Keeper>> spawn();
  [[nodiscard]] static Result<> send_hold(Keeper& keeper, uint64_t id, int socket);
  void on_channel(Keeper& keeper, uint32_t events);
  void take_reports(Keeper& keeper);
  void send_orders(Keeper& keeper);
  void replace_lost(Keeper& lost);
  void forget_finished();

  EventLoop& loop_;
  std::string program_;
  int listener_ = -1;
  Limits limits_;
  std::unique_ptr<Keeper> current_;
  std::vector<std::unique_ptr<Keeper>> left_behind_;
  std::unordered_map<uint64_t, Keeper*> keeper_of_;  // of live connections
  EventSource tidying_;
  std::chrono::steady_clock::time_point not_before_;  // the next one is started; those that die at once are few
  size_t held_ = 0;
  uint64_t next_ = 1;
};

}  // namespace wrapd::daemon
