// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::client {

// Notices that somebody else writes to a log file. CMD runs as the user whose file it is, and so can change what lies
// under a name that it knows. A change within the clock tick of a write of ours is not noticed if it keeps the size.
class LogWatch {
 public:
  LogWatch() = default;       // of what is no file: notices nothing
  explicit LogWatch(int fd);  // borrowed
  void look();                // before a write, and at the end
  void wrote();               // after one
  [[nodiscard]] bool changed() const { return changed_; }

 private:
  int fd_ = -1;
  struct stat last_ {};
  bool changed_ = false;
};

// What a log is called, and what there is to tell of it at the end.
class LogName {
 public:
  // `by_name`: `fd` was opened by this name, and the name should still be its.
  LogName(std::string name, int fd, bool by_name);
  // One line each for stderr. `changed`: of a LogWatch.
  [[nodiscard]] std::vector<std::string> problems(uint64_t lost, int error, bool changed) const;

 private:
  std::string name_;
  bool file_ = false;
  struct stat made_ {};
};

// --audit-log FILE: appends JSON lines, as the user. Never waits: what a full disk or pipe does not take is counted.
class EventLog {
 public:
  // The file of this name, or an inherited descriptor (not negative; taken). A file must be the user's or root's, and
  // so must a link in its place, in a directory where nobody else can put another.
  [[nodiscard]] static Result<EventLog> open(const std::string& name, int descriptor = -1);
  void append(std::string_view json);
  // Gives the descriptor away, to one who writes it himself.
  [[nodiscard]] UniqueFd release() { return std::move(fd_); }
  [[nodiscard]] const LogName& name() const { return name_; }
  // One line each for stderr, of what was lost or looks wrong.
  [[nodiscard]] std::vector<std::string> problems();

 private:
  EventLog(const std::string& name, UniqueFd fd, bool by_name);
  LogName name_;
  UniqueFd fd_;
  LogWatch watch_;
  bool torn_ = false;  // the last line is cut
  uint64_t lost_ = 0;
  int error_ = 0;
};

}  // namespace wrapd::client
