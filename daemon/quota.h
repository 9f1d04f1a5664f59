// SPDX-License-Identifier: Apache-2.0
#pragma once

// Who shares a limit, and what is left for whom. A user may have tens of thousands of further ids (subuid(5)) and come
// with each: the ids of one range are one user here. A limit on what all users have together keeps some places for
// root, and more for users with an account: strangers cannot use them up, however many they are.

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace wrapd::daemon {

enum class Standing : uint8_t { no_account, account, root };

// Who has which subordinate ids: /etc/subuid, as it was when it was read. Names are not looked up.
class SubordinateIds {
 public:
  static constexpr size_t kMostRanges = 65536;
  // `text` in the format of subuid(5). Lines that are none are left out.
  [[nodiscard]] static SubordinateIds parse(std::string_view text);

  [[nodiscard]] bool contains(uid_t uid) const { return find(uid) != nullptr; }
  // The user that a uid counts as: itself, or one that stands for all subordinate ids of one owner.
  [[nodiscard]] uint64_t user_of(uid_t uid) const;
  // As far as ids alone tell: what is neither root's nor subordinate may have an account.
  [[nodiscard]] Standing standing_of(uid_t uid) const;

 private:
  struct Range {
    uint64_t first = 0;
    uint64_t end = 0;
    uint64_t user = 0;
  };
  [[nodiscard]] const Range* find(uid_t uid) const;
  std::vector<Range> ranges_;  // by `first`; none lies in another
};

// Counts what each user has of something. A Ticket is one of them, or several, and gives it back when it goes; it may
// outlive the Quota.
class Quota {
  struct Counts {
    std::unordered_map<uint64_t, size_t> of;
    std::array<size_t, 3> standing{};
    void release(uint64_t user, Standing as, size_t amount) noexcept {
      standing[static_cast<size_t>(as)] -= amount;
      if (auto it = of.find(user); it != of.end() && (it->second -= amount) == 0) of.erase(it);
    }
  };

 public:
  class Ticket {
   public:
    Ticket() noexcept = default;
    Ticket(Ticket&& other) noexcept
        : counts_(std::exchange(other.counts_, nullptr)),
          user_(other.user_),
          standing_(other.standing_),
          amount_(other.amount_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(counts_, other.counts_);
      std::swap(user_, other.user_);
      std::swap(standing_, other.standing_);
      std::swap(amount_, other.amount_);
      return *this;
    }
    ~Ticket() {
      if (counts_) counts_->release(user_, standing_, amount_);
    }
    [[nodiscard]] bool valid() const noexcept { return counts_ != nullptr; }
    [[nodiscard]] uint64_t user() const noexcept { return user_; }
    [[nodiscard]] Standing standing() const noexcept { return standing_; }

   private:
    friend class Quota;
    Ticket(std::shared_ptr<Counts> counts, uint64_t user, Standing standing, size_t amount) noexcept
        : counts_(std::move(counts)), user_(user), standing_(standing), amount_(amount) {}
    std::shared_ptr<Counts> counts_;
    uint64_t user_ = 0;
    Standing standing_ = Standing::no_account;
    size_t amount_ = 0;
  };

  Quota() = default;
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  [[nodiscard]] size_t of(uint64_t user) const {
    auto it = counts_->of.find(user);
    return it == counts_->of.end() ? 0 : it->second;
  }
  [[nodiscard]] size_t total() const noexcept {
    return counts_->standing[0] + counts_->standing[1] + counts_->standing[2];
  }
  [[nodiscard]] size_t total_but_root() const { return total() - of(0); }
  // Nobody uses up what is there for all: who has less than `few` gets one also where there are `in_all`, and root's
  // are counted by themselves.
  [[nodiscard]] bool has_room(uint64_t user, size_t each, size_t in_all, size_t few) const {
    const size_t own = of(user);
    return own < each && (user == 0 || own < few || total_but_root() < in_all);
  }
  // Of `limit` places for all together none is left for one of this standing.
  [[nodiscard]] bool full(size_t limit, Standing standing) const noexcept;
  [[nodiscard]] Ticket take(uint64_t user, Standing standing = Standing::account, size_t amount = 1) {
    counts_->of[user] += amount;
    counts_->standing[static_cast<size_t>(standing)] += amount;
    return {counts_, user, standing, amount};
  }

 private:
  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace wrapd::daemon
