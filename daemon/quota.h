// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>

namespace wrapd::daemon {

// Counts what each user has of something. A Ticket is one of them and gives it back when it goes; it may outlive the
// Quota.
class Quota {
  struct Counts {
    std::unordered_map<uid_t, size_t> of;
    size_t total = 0;
    void release(uid_t uid) noexcept {
      --total;
      if (auto it = of.find(uid); it != of.end() && --it->second == 0) of.erase(it);
    }
  };

 public:
  class Ticket {
   public:
    Ticket() noexcept = default;
    Ticket(Ticket&& other) noexcept : counts_(std::exchange(other.counts_, nullptr)), uid_(other.uid_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(counts_, other.counts_);
      std::swap(uid_, other.uid_);
      return *this;
    }
    ~Ticket() {
      if (counts_) counts_->release(uid_);
    }
    [[nodiscard]] bool valid() const noexcept { return counts_ != nullptr; }

   private:
    friend class Quota;
    Ticket(std::shared_ptr<Counts> counts, uid_t uid) noexcept : counts_(std::move(counts)), uid_(uid) {}
    std::shared_ptr<Counts> counts_;
    uid_t uid_ = 0;
  };

  Quota() = default;
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  [[nodiscard]] size_t of(uid_t uid) const {
    auto it = counts_->of.find(uid);
    return it == counts_->of.end() ? 0 : it->second;
  }
  [[nodiscard]] size_t total() const noexcept { return counts_->total; }
  [[nodiscard]] size_t total_but_root() const { return counts_->total - of(0); }
  // Nobody uses up what is there for all: who has less than `few` gets one also where there are `in_all`, and root's
  // are counted by themselves.
  [[nodiscard]] bool has_room(uid_t uid, size_t each, size_t in_all, size_t few) const {
    const size_t own = of(uid);
    return own < each && (uid == 0 || own < few || total_but_root() < in_all);
  }
  [[nodiscard]] Ticket take(uid_t uid) {
    ++counts_->of[uid];
    ++counts_->total;
    return Ticket(counts_, uid);
  }

 private:
  std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace wrapd::daemon
