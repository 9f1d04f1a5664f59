// SPDX-License-Identifier: Apache-2.0
#pragma once

// What was sent to each client of the bus and may not have been read yet.
//
// dbus-daemon counts every message of ours until its last receiver has taken it, and does not read from us any more
// once they are 127 MiB or carry 64 descriptors (max_incoming_bytes, max_incoming_unix_fds): then nobody gets an
// answer, and what we send grows in our own memory. It ends no client for not reading. So each reply is charged by its
// size to the client, to who pays for that client's user, and to all together. What does not fit waits until the bus
// has said what those have not read who stand in the way (org.freedesktop.DBus.Debug.Stats, which is root's alone), and
// is refused if it still does not fit. The bus counts what anybody sent to a client: what others send it is not held
// against it, nor against its user.
//
// A bus that does not say it (dbus-broker) charges its receivers itself and ends those that do not read: there an
// account is forgotten once it has rested for kForget.

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

namespace wrapd::daemon::bus {

struct Load {
  size_t bytes = 0;
  size_t descriptors = 0;
};

class Unread {
 public:
  using Clock = std::chrono::steady_clock;
  // One reply may be larger, where nothing is unread.
  static constexpr Load kPerClient{.bytes = 256 << 10, .descriptors = 4};
  static constexpr Load kPerPayer{.bytes = 1 << 20, .descriptors = 8};
  // Root has many programs, and what one of them leaves unread must not keep an administrator from looking.
  static constexpr Load kRoots{.bytes = 8 << 20, .descriptors = 12};
  // Of all but root. Whose own part is small gets an answer also beyond that.
  static constexpr Load kInAll{.bytes = 24 << 20, .descriptors = 24};
  static constexpr Load kShare{.bytes = 64 << 10, .descriptors = 1};
  static constexpr size_t kMostDescriptors = 48;  // the rest are root's
  // A refusal is a reply, too. A client that does not read refusals either gets no answer at all.
  static constexpr size_t kRefusalRoom = 64 << 10;
  // A client that has less than this unread gets its small answer whatever others of its user have.
  static constexpr size_t kAnyway = 2 << 10;
  static constexpr size_t kMostClients = 256;  // of one payer; the bus's max_connections_per_user
  static constexpr size_t kAtOnce = 32;        // queries to the bus
  static constexpr std::chrono::milliseconds kSweepInterval{100};
  static constexpr std::chrono::seconds kForget{1};

  // What the bus says about a client.
  struct Gone {};
  struct Unknown {};      // this time
  struct Unavailable {};  // this bus never says it
  using Answer = std::variant<Load, Gone, Unknown, Unavailable>;
  using Ask = std::function<void(const std::string& client, std::function<void(const Answer&)> done)>;

  explicit Unread(Ask ask) : ask_(std::move(ask)) {}

  // Charges a reply of this size, if it fits as far as we know.
  [[nodiscard]] bool take(const std::string& client, uid_t payer, Load load, Clock::time_point now);
  // The same for a refusal.
  [[nodiscard]] bool take_refusal(const std::string& client, uid_t payer, size_t bytes, Clock::time_point now);
  // Charges it in any case: it is sent, or its size was not known before.
  void add(const std::string& client, uid_t payer, Load load, Clock::time_point now);
  // Finds out what those have read who stand in the way of such a reply, and calls `done` then; maybe at once.
  void find_out(const std::string& client, uid_t payer, Load load, Clock::time_point now, std::function<void()> done);

  [[nodiscard]] Load total() const noexcept { return total_; }
  [[nodiscard]] Load of(const std::string& client) const;
  [[nodiscard]] size_t clients() const noexcept { return accounts_.size(); }

 private:
  // Calls `done` when the last query of it is answered.
  struct Waiter {
    explicit Waiter(std::function<void()> then) : done(std::move(then)) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() { done(); }
    std::function<void()> done;
  };
  using Round = std::shared_ptr<Waiter>;
  struct Account {
    uid_t payer = 0;
    Load load;
    Load since;  // of it, charged since the bus was asked
    Clock::time_point charged;
    bool asked = false;
    std::vector<Round> waiting;
  };
  struct Payer {
    Load load;
    std::unordered_set<std::string> clients;
    Clock::time_point swept;
  };
  enum class Scope { nobody, client, payer, all };
  // Who stands in the way.
  [[nodiscard]] bool small(const std::string& client, uid_t payer, Load load) const;
  [[nodiscard]] Scope obstacle(const std::string& client, uid_t payer, Load load) const;
  [[nodiscard]] Scope obstacle_of_refusal(const std::string& client, uid_t payer, size_t bytes) const;
  [[nodiscard]] bool has_too_many_clients(const std::string& client, uid_t payer) const;
  [[nodiscard]] Load of_payer(uid_t payer) const;
  Account& account_of(const std::string& client, uid_t payer);
  void charge(Account& account, Load load);
  void set(Account& account, Load load);
  void erase(const std::string& client);
  void query(const std::string& client, const Round& round);
  void query_all_in_the_way(Scope scope, uid_t payer, const Round& round, Clock::time_point now);
  void send_queries();
  void on_answer(const std::string& client, const Answer& answer);

  Ask ask_;
  std::unordered_map<std::string, Account> accounts_;
  std::unordered_map<uid_t, Payer> payers_;
  Load total_;  // of all but root
  Clock::time_point swept_;
  std::deque<std::string> queries_;
  size_t asking_ = 0;
};

}  // namespace wrapd::daemon::bus
