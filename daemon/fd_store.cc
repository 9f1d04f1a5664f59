// SPDX-License-Identifier: Apache-2.0
#include "daemon/fd_store.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

// Names that a manager can have given: sd_pid_notify_with_fds(3), FDNAME=.
bool is_store_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 &&
         std::ranges::all_of(name, [](char c) { return c > ' ' && c < 127 && c != ':'; });
}

}  // namespace

FdStore FdStore::from_environment(size_t size) {
  if (std::getenv("NOTIFY_SOCKET") == nullptr) return FdStore(0);
  const char* given = std::getenv("FDSTORE");
  if (given == nullptr) return FdStore(size);
  std::string_view text(given);
  size_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return FdStore(size);
  return FdStore(number);
}

size_t FdStore::most_sessions() const {
  return present() ? size_ / kPerSession : std::numeric_limits<size_t>::max();
}

Result<> FdStore::store(const std::string& name, std::span<const int> fds) const {
  if (!present()) return {};
  const std::string message = "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name;
  int rc = sd_pid_notify_with_fds(0, 0, message.c_str(), fds.data(), static_cast<unsigned>(fds.size()));
  if (rc < 0) return fail_errno("cannot store a session's descriptors with the service manager", -rc);
  return {};
}

void FdStore::remove(std::string_view name) const {
  if (!present() || !is_store_name(name)) return;
  int rc = sd_notify(0, ("FDSTOREREMOVE=1\nFDNAME=" + std::string(name)).c_str());
  if (rc >= 0) return;
  const Error error = fail_errno("cannot take " + std::string(name) + " out of the descriptor store", -rc).error();
  std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
}

std::string FdStore::name_of(std::string_view session_id) {
  return "session-" + std::string(session_id);
}

}  // namespace wrapd::daemon
