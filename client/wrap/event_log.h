// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::client {

// --audit-log FILE: appends JSON lines, as the user. Never waits: what a full disk or pipe does not take is counted.
class EventLog {
 public:
  [[nodiscard]] static Result<EventLog> open(const std::string& path);
  void append(std::string_view json);
  // Gives the descriptor away, to one who writes it himself.
  [[nodiscard]] UniqueFd release() { return std::move(fd_); }
  // One line for stderr, if anything was lost.
  [[nodiscard]] std::optional<std::string> problem() const;
  [[nodiscard]] static std::string describe_losses(const std::string& path, uint64_t count, int error);

 private:
  EventLog(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
  bool torn_ = false;  // the last line is cut
  uint64_t lost_ = 0;
  int error_ = 0;
};

}  // namespace wrapd::client
