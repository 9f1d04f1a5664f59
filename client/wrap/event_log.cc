// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"

namespace wrapd::client {

Result<EventLog> EventLog::open(const std::string& path) {
  // O_NONBLOCK: neither a FIFO without a reader nor a full one may hold up the command.
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("cannot open the audit log " + printable(path, 256));
  return EventLog(path, std::move(fd));
}

void EventLog::append(std::string_view json) {
  std::string line;
  line.reserve(json.size() + 2);
  if (torn_) line += '\n';
  line += json;
  line += '\n';
  ssize_t n = 0;
  do {
    n = ::write(fd_.get(), line.data(), line.size());
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(line.size())) {
    torn_ = false;
    return;
  }
  error_ = n < 0 ? errno : ENOSPC;
  if (n > 0) torn_ = true;
  ++lost_;
}

std::optional<std::string> EventLog::problem() const {
  if (lost_ == 0) return std::nullopt;
  return describe_losses(path_, lost_, error_);
}

std::string EventLog::describe_losses(const std::string& path, uint64_t count, int error) {
  std::string what = std::to_string(count) + (count == 1 ? " event" : " events") + " could not be written to ";
  return fail_errno(what + printable(path, 256), error).error().message;
}

}  // namespace wrapd::client
