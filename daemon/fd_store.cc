// SPDX-License-Identifier: Apache-2.0
#include "daemon/fd_store.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "daemon/manager_notice.h"

namespace wrapd::daemon {
namespace {

constexpr std::chrono::milliseconds kRetry{250};

// Names that a manager can have given: sd_pid_notify_with_fds(3), FDNAME=.
bool is_store_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < 127 && c != ':'; });
}

}  // namespace

FdStore::FdStore(EventLoop& loop, size_t size) : loop_(loop), size_(0) {
  if (std::getenv("NOTIFY_SOCKET") == nullptr) return;
  size_ = size;
  const char* given = std::getenv("FDSTORE");
  if (given == nullptr) return;
  std::string_view text(given);
  size_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) size_ = number;
}

FdStore::~FdStore() {
  send_removals();
}

size_t FdStore::most_sessions() const {
  if (!present()) return std::numeric_limits<size_t>::max();
  return size_ / kMostPerSession - std::min(size_ / kMostPerSession, removals_.size());
}

Result<> FdStore::store(const std::string& name, std::span<const int> fds) const {
  if (!present()) return {};
  Result<> sent;
  if (removals_.contains(name)) {
    sent = fail("the service manager does not keep up", EAGAIN);
  } else {
    sent = tell_manager("FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, fds);
  }
  if (!sent) {
    return fail("cannot store a session's descriptors with the service manager: " + sent.error().message,
                sent.error().code);
  }
  return {};
}

void FdStore::remove(std::string_view name) {
  if (!present() || !is_store_name(name)) return;
  removals_.emplace(name);
  send_removals();
}

void FdStore::send_removals() {
  while (!removals_.empty()) {
    auto sent = tell_manager("FDSTOREREMOVE=1\nFDNAME=" + *removals_.begin(), {});
    if (!sent) {
      if (sent.error().code != EAGAIN && !std::exchange(told_, true)) {
        std::fprintf(stderr, "wrapd: cannot take %s out of the descriptor store: %s; trying again\n",
                     removals_.begin()->c_str(), sent.error().message.c_str());
      }
      return retry_later();
    }
    told_ = false;
    removals_.erase(removals_.begin());
  }
}

void FdStore::retry_later() {
  if (retry_.active()) return;
  auto timer = loop_.after(kRetry, [this] {
    retry_.reset();
    send_removals();
  });
  if (timer) retry_ = std::move(*timer);  // else with the next removal
}

std::string FdStore::name_of(std::string_view session_id) {
  return "session-" + std::string(session_id);
}

}  // namespace wrapd::daemon
