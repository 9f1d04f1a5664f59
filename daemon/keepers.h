// SPDX-License-Identifier: Apache-2.0
#pragma once

// The keepers' side in the service (keeper_main.cc): which connection is held where, and who is told to close it. One
// keeper takes what comes. One that has died is replaced, and what it held is held again. One that holds as much as its
// limit of descriptors lets it is left behind, and goes when it has nothing left; how many may be left behind is
// bounded.
//
// Our own copy of a connection is closed when its keeper has said that it holds one, never before.

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
    size_t held = 65536;  // in one keeper, if its limit of descriptors allows as many
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
  // When ready(), and before anything else is done with `socket`, which stays open until it is given to close() with
  // the number that this returns. What a keeper does not take at once waits for one, and is the last that is accepted.
  [[nodiscard]] uint64_t hold(int socket);
  // Somebody else gets the connection, whom the end of the service is not to disturb.
  [[nodiscard]] Result<> give(uint64_t id);
  // Our own copy is closed once it is not the last. `ticket` is given back when the keeper has closed its own.
  void close(uint64_t id, UniqueFd socket, uint32_t thread, Quota::Ticket ticket);
  // How many are held, those that wait to be closed included.
  [[nodiscard]] size_t held() const noexcept { return connections_.size(); }
  // A keeper with nothing left to hold ends.
  void let_go();

 private:
  struct Keeper {
    UniqueFd channel;
    UniqueFd pidfd;
    EventSource reports;
    EventSource end;
    size_t room = 0;
    size_t held = 0;  // has, or will have when it has read what it was sent
    std::deque<KeeperOrder> unsent;
    bool gone = false;   // or told to go
    bool ended = false;  // can be reaped
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  };
  struct Connection {
    int socket = -1;
    Keeper* keeper = nullptr;  // null: it waits for one
    bool held = false;         // its keeper has said so
    bool given = false;
    bool closing = false;
    UniqueFd ours;  // closing, and not held yet
    uint32_t thread = 0;
    Quota::Ticket ticket;
  };
  [[nodiscard]] Result<std::unique_ptr<Keeper>> spawn();
  [[nodiscard]] Result<size_t> room_in_keeper() const;
  [[nodiscard]] Result<> find_room();
  [[nodiscard]] Result<> send_hold(uint64_t id, Connection& connection);
  void order(Keeper& keeper, KeeperOrder order);
  void order_close(uint64_t id, Connection& connection);
  void on_channel(Keeper& keeper, uint32_t events);
  void take_reports(Keeper& keeper);
  void take_report(Keeper& keeper, const KeeperReport& report);
  void send_orders(Keeper& keeper);
  void on_end(Keeper& keeper);
  void replace_lost(Keeper& lost);
  void note_short_life(const Keeper& keeper);
  void wait_for_keeper(uint64_t id, Connection& connection);
  void hold_again();
  void hold_again_later(std::chrono::milliseconds delay);
  void dismiss(Keeper& keeper);
  void forget_ended();

  EventLoop& loop_;
  std::string program_;
  int listener_ = -1;
  Limits limits_;
  std::unique_ptr<Keeper> current_;
  std::vector<std::unique_ptr<Keeper>> left_behind_;
  std::unordered_map<uint64_t, Connection> connections_;
  std::deque<uint64_t> without_keeper_;  // of connections_
  EventSource tidying_;
  EventSource holding_again_;
  std::chrono::steady_clock::time_point not_before_;  // the next one is started; those that die at once are few
  uint64_t next_ = 1;
};

}  // namespace wrapd::daemon
