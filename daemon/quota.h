// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <unordered_map>
#include <utility>

namespace wrapd::daemon {

// Counts what each user has of something. A Ticket is one of them and gives it back when it goes; the Quota must
// outlive its tickets.
class Quota {
 public:
  class Ticket {
   public:
    Ticket() noexcept = default;
    Ticket(Ticket&& other) noexcept : quota_(std::exchange(other.quota_, nullptr)), uid_(other.uid_) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(quota_, other.quota_);
      std::swap(uid_, other.uid_);
      return *this;
    }
    ~Ticket() {
      if (quota_ != nullptr) quota_->release(uid_);
    }
    [[nodiscard]] bool valid() const noexcept { return quota_ != nullptr; }

   private:
    friend class Quota;
    Ticket(Quota* quota, uid_t uid) noexcept : quota_(quota), uid_(uid) {}
    Quota* quota_ = nullptr;
    uid_t uid_ = 0;
  };

  Quota() = default;
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  [[nodiscard]] size_t of(uid_t uid) const {
    auto it = counts_.find(uid);
    return it == counts_.end() ? 0 : it->second;
  }
  [[nodiscard]] size_t total() const noexcept { return total_; }
  [[nodiscard]] Ticket take(uid_t uid) {
    ++counts_[uid];
    ++total_;
    return Ticket(this, uid);
  }

 private:
  void release(uid_t uid) noexcept {
    --total_;
    if (auto it = counts_.find(uid); it != counts_.end() && --it->second == 0) counts_.erase(it);
  }
  std::unordered_map<uid_t, size_t> counts_;
  size_t total_ = 0;
};

}  // namespace wrapd::daemon
