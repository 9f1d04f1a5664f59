// SPDX-License-Identifier: Apache-2.0
#include "daemon/user_directory.h"

#include <pwd.h>

namespace wrapd::daemon {
namespace {

constexpr std::chrono::seconds kKeep{60};
constexpr size_t kMaxKnown = 4096;
constexpr size_t kMaxThreads = 16;
constexpr size_t kMaxQueue = 1024;
constexpr size_t kMaxBuffer = 1U << 20;

}  // namespace

Result<UserEntry> UserDirectory::ask_name_services(uid_t uid) {
  std::vector<char> buffer(4096);
  for (;;) {
    struct passwd entry {};
    struct passwd* found = nullptr;
    int rc = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    if (rc == EINTR) continue;
    if (rc == ERANGE && buffer.size() < kMaxBuffer) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    // getpwuid(3): these, too, mean that there is no entry.
    if (found == nullptr && (rc == 0 || rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM)) return UserEntry{};
    if (found == nullptr) return fail_errno("cannot look up uid " + std::to_string(uid), rc);
    return UserEntry{.name = found->pw_name, .home = found->pw_dir};
  }
}

Result<std::unique_ptr<UserDirectory>> UserDirectory::create(EventLoop& loop, Lookup lookup) {
  std::unique_ptr<UserDirectory> users(new UserDirectory);
  users->lookup_ = std::move(lookup);
  auto worker = Worker::create(loop, kMaxThreads, kMaxQueue);
  if (!worker) return std::unexpected(worker.error());
  users->worker_ = std::move(*worker);
  return users;
}

std::optional<bool> UserDirectory::has_entry(uid_t uid) const {
  auto known = known_.find(uid);
  if (known == known_.end() || std::chrono::steady_clock::now() >= known->second.until) return std::nullopt;
  return !known->second.entry.name.empty();
}

void UserDirectory::find(uid_t uid, Callback done) {
  if (auto known = known_.find(uid); known != known_.end()) {
    if (std::chrono::steady_clock::now() < known->second.until) return done(known->second.entry);
    known_.erase(known);
  }
  auto& waiting = waiting_[uid];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  auto submitted = worker_->submit([this, uid, lookup = lookup_]() -> Worker::Completion {
    return [this, uid, result = lookup(uid)] { answer(uid, result); };
  });
  if (!submitted) answer(uid, fail("cannot look up uid " + std::to_string(uid) + ": " + submitted.error().message));
}

void UserDirectory::answer(uid_t uid, Result<UserEntry> result) {
  if (result) {
    // Simplest bound; a machine with so many users at once asks again.
    if (known_.size() >= kMaxKnown) known_.clear();
    known_[uid] = Known{.entry = *result, .until = std::chrono::steady_clock::now() + kKeep};
  }
  auto waiting = std::move(waiting_[uid]);
  waiting_.erase(uid);
  for (auto& done : waiting) done(result);
}

}  // namespace wrapd::daemon
