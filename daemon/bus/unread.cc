// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/unread.h"

#include <algorithm>
#include <utility>

namespace wrapd::daemon::bus {
namespace {

Load sum(Load a, Load b) {
  return {.bytes = a.bytes + b.bytes, .descriptors = a.descriptors + b.descriptors};
}

Load difference(Load a, Load b) {
  return {.bytes = a.bytes - b.bytes, .descriptors = a.descriptors - b.descriptors};
}

Load smaller(Load a, Load b) {
  return {.bytes = std::min(a.bytes, b.bytes), .descriptors = std::min(a.descriptors, b.descriptors)};
}

bool empty(Load load) {
  return load.bytes == 0 && load.descriptors == 0;
}

// What brings no descriptor takes no place of one.
bool within(Load there, Load more, Load limit) {
  const Load after = sum(there, more);
  return after.bytes <= limit.bytes && (more.descriptors == 0 || after.descriptors <= limit.descriptors);
}

// One that is larger than the limit by itself fits where there is nothing.
bool fits(Load there, Load more, Load limit) {
  const bool nothing = there.bytes == 0 && (more.descriptors == 0 || there.descriptors == 0);
  return nothing || within(there, more, limit);
}

Load most_of(uid_t payer) {
  return payer == 0 ? Unread::kRoots : Unread::kPerPayer;
}

}  // namespace

Load Unread::of(const std::string& client) const {
  auto it = accounts_.find(client);
  return it == accounts_.end() ? Load{} : it->second.load;
}

Load Unread::of_payer(uid_t payer) const {
  auto it = payers_.find(payer);
  return it == payers_.end() ? Load{} : it->second.load;
}

bool Unread::has_too_many_clients(const std::string& client, uid_t payer) const {
  auto paid = payers_.find(payer);
  return paid != payers_.end() && paid->second.clients.size() >= kMostClients && !paid->second.clients.contains(client);
}

// Who orders something, or looks one thing up, is not refused for what others of its user leave unread.
bool Unread::small(const std::string& client, uid_t payer, Load load) const {
  return load.descriptors == 0 && of(client).bytes + load.bytes <= kAnyway && !has_too_many_clients(client, payer);
}

Unread::Scope Unread::obstacle(const std::string& client, uid_t payer, Load load) const {
  if (small(client, payer, load)) return Scope::nobody;
  if (!fits(of(client), load, kPerClient)) return Scope::client;
  auto paid = payers_.find(payer);
  if (paid != payers_.end()) {
    if (has_too_many_clients(client, payer) || !fits(paid->second.load, load, most_of(payer))) return Scope::payer;
  }
  if (payer == 0) return Scope::nobody;
  if (load.descriptors > 0 && total_.descriptors + load.descriptors > kMostDescriptors) return Scope::all;
  if (!within(total_, load, kInAll) && !within(of_payer(payer), load, kShare)) return Scope::all;
  return Scope::nobody;
}

bool Unread::take(const std::string& client, uid_t payer, Load load, Clock::time_point now) {
  if (obstacle(client, payer, load) != Scope::nobody) return false;
  add(client, payer, load, now);
  return true;
}

Unread::Scope Unread::obstacle_of_refusal(const std::string& client, uid_t payer, size_t bytes) const {
  const auto fits = [bytes](size_t there, size_t limit) { return there + bytes <= limit + kRefusalRoom; };
  if (!fits(of(client).bytes, kPerClient.bytes)) return Scope::client;
  const size_t paid = of_payer(payer).bytes;
  if (has_too_many_clients(client, payer) || !fits(paid, most_of(payer).bytes)) return Scope::payer;
  if (payer != 0 && !fits(total_.bytes, kInAll.bytes) && paid + bytes > kShare.bytes) return Scope::all;
  return Scope::nobody;
}

bool Unread::take_refusal(const std::string& client, uid_t payer, size_t bytes, Clock::time_point now) {
  const Scope scope = obstacle_of_refusal(client, payer, bytes);
  if (scope == Scope::nobody) {
    add(client, payer, {.bytes = bytes}, now);
    return true;
  }
  // The bus then says what it has read, and a client that has gone is forgotten.
  query(client, nullptr);
  query_all_in_the_way(scope, payer, nullptr, now);
  return false;
}

void Unread::add(const std::string& client, uid_t payer, Load load, Clock::time_point now) {
  Account& account = account_of(client, payer);
  charge(account, load);
  account.charged = now;
  // Asked in time, a client that reads is never held up.
  if (account.load.bytes > kPerClient.bytes / 2 || account.load.descriptors > kPerClient.descriptors / 2) {
    query(client, nullptr);
  }
}

void Unread::find_out(const std::string& client, uid_t payer, Load load, Clock::time_point now,
                      std::function<void()> done) {
  const Round round = std::make_shared<Waiter>(std::move(done));
  const Scope scope = obstacle(client, payer, load);
  if (scope == Scope::nobody) return;
  // How often it calls is bounded (rates.h), what others have is looked at now and then.
  query(client, round);
  query_all_in_the_way(scope, payer, round, now);
}

void Unread::query_all_in_the_way(Scope scope, uid_t payer, const Round& round, Clock::time_point now) {
  switch (scope) {
    case Scope::nobody:
    case Scope::client:
      return;
    case Scope::payer: {
      auto paid = payers_.find(payer);
      if (paid == payers_.end() || now - paid->second.swept < kSweepInterval) return;
      paid->second.swept = now;
      // Asking may find out at once, and forget.
      const std::vector<std::string> names(paid->second.clients.begin(), paid->second.clients.end());
      for (const std::string& name : names) query(name, round);
      return;
    }
    case Scope::all: {
      if (now - swept_ < kSweepInterval) return;
      swept_ = now;
      std::vector<std::string> names;
      for (const auto& [name, account] : accounts_) {
        if (account.payer != 0) names.push_back(name);
      }
      for (const std::string& name : names) query(name, round);
      return;
    }
  }
}

Unread::Account& Unread::account_of(const std::string& client, uid_t payer) {
  auto [it, made] = accounts_.try_emplace(client);
  Account& account = it->second;
  if (!made && account.payer != payer) {
    // Who pays was not known before.
    const Load load = account.load;
    set(account, {});
    payers_.at(account.payer).clients.erase(client);
    if (payers_.at(account.payer).clients.empty()) payers_.erase(account.payer);
    account.payer = payer;
    payers_[payer].clients.insert(client);
    set(account, load);
  } else if (made) {
    account.payer = payer;
    payers_[payer].clients.insert(client);
  }
  return account;
}

void Unread::charge(Account& account, Load load) {
  account.since = sum(account.since, load);
  set(account, sum(account.load, load));
}

void Unread::set(Account& account, Load load) {
  Load& paid = payers_.at(account.payer).load;
  paid = sum(difference(paid, account.load), load);
  if (account.payer != 0) total_ = sum(difference(total_, account.load), load);
  account.load = load;
}

void Unread::erase(const std::string& client) {
  auto it = accounts_.find(client);
  if (it == accounts_.end()) return;
  set(it->second, {});
  auto paid = payers_.find(it->second.payer);
  paid->second.clients.erase(client);
  if (paid->second.clients.empty()) payers_.erase(paid);
  // Those who wait may come back here.
  const auto gone = accounts_.extract(it);
}

// Each client is asked about once at a time; who comes later waits for the same answer.
void Unread::query(const std::string& client, const Round& round) {
  auto it = accounts_.find(client);
  if (it == accounts_.end()) return;
  if (round) it->second.waiting.push_back(round);
  if (std::exchange(it->second.asked, true)) return;
  queries_.push_back(client);
  send_queries();
}

void Unread::send_queries() {
  while (!queries_.empty() && asking_ < kAtOnce) {
    const std::string client = std::move(queries_.front());
    queries_.pop_front();
    auto it = accounts_.find(client);
    if (it == accounts_.end()) continue;
    // The bus takes what we send in order: its answer counts what was sent before.
    it->second.since = {};
    ++asking_;
    ask_(client, [this, client](const Answer& answer) {
      --asking_;
      on_answer(client, answer);
      send_queries();
    });
  }
}

void Unread::on_answer(const std::string& client, const Answer& answer) {
  auto it = accounts_.find(client);
  if (it == accounts_.end()) return;
  Account& account = it->second;
  account.asked = false;
  const auto waiting = std::exchange(account.waiting, {});
  if (const auto* unread = std::get_if<Load>(&answer)) {
    // The bus counts what anybody has sent to that client: it can only show that less of ours is unread.
    const Load now = sum(smaller(*unread, difference(account.load, account.since)), account.since);
    if (empty(now)) {
      erase(client);
    } else {
      set(account, now);
    }
  } else if (std::holds_alternative<Gone>(answer)) {
    erase(client);
  } else if (std::holds_alternative<Unavailable>(answer) && Clock::now() - account.charged >= kForget) {
    erase(client);
  }
}

}  // namespace wrapd::daemon::bus
