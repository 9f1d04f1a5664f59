// SPDX-License-Identifier: Apache-2.0
#pragma once

// Names and home directories by uid, from the name services. Those may ask a server far away: they are asked on a
// thread, once per uid at a time, and the answer is kept for a minute.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "daemon/worker.h"

namespace wrapd::daemon {

struct UserEntry {
  std::string name;  // both empty: the uid has no entry
  std::string home;
};

class UserDirectory {
 public:
  using Callback = std::function<void(const Result<UserEntry>&)>;
  // Asks the name services; runs on a thread.
  using Lookup = std::function<Result<UserEntry>(uid_t)>;
  static Result<UserEntry> ask_name_services(uid_t uid);

  [[nodiscard]] static Result<std::unique_ptr<UserDirectory>> create(EventLoop& loop,
                                                                     Lookup lookup = ask_name_services);

  // Whether the uid has an entry, if that is known.
  [[nodiscard]] std::optional<bool> has_entry(uid_t uid) const;
  // Calls `done` at once if the answer is known, else later, on the loop's thread. There is no deadline here: a caller
  // that asks has one.
  void find(uid_t uid, Callback done);

 private:
  struct Known {
    UserEntry entry;
    std::chrono::steady_clock::time_point until;
  };
  UserDirectory() = default;
  void answer(uid_t uid, Result<UserEntry> result);
  Lookup lookup_;
  std::unordered_map<uid_t, Known> known_;
  std::unordered_map<uid_t, std::vector<Callback>> waiting_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace wrapd::daemon
