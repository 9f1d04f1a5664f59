// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"

namespace wrapd::client {
namespace {

bool own_or_roots(uid_t uid) {
  return uid == ::geteuid() || uid == 0;
}

// Follows a link only where nobody else can have put it. O_NONBLOCK: neither a FIFO without a reader nor a full one may
// hold up the command.
Result<UniqueFd> open_file(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
  const std::string what = "the audit log " + printable(path, 256);
  const size_t slash = path.rfind('/');
  const std::string above = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  UniqueFd directory(::open(above.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory || name.empty()) return fail_errno("cannot open " + what, directory ? EISDIR : errno);
  UniqueFd fd(::openat(directory.get(), name.c_str(), kFlags | O_NOFOLLOW, 0600));
  if (!fd && errno == ELOOP) {
    struct stat link {};
    struct stat place {};
    if (::fstatat(directory.get(), name.c_str(), &link, AT_SYMLINK_NOFOLLOW) < 0 ||
        ::fstat(directory.get(), &place) < 0) {
      return fail_errno("cannot open " + what);
    }
    const bool others_write = (place.st_mode & 022) != 0 && (place.st_mode & S_ISVTX) == 0;
    if (!own_or_roots(link.st_uid) || !own_or_roots(place.st_uid) || others_write) {
      return fail(what + " is a link that others can make or replace; name the file itself", EPERM);
    }
    fd.reset(::openat(directory.get(), name.c_str(), kFlags, 0600));
  }
  if (!fd) return fail_errno("cannot open " + what);
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot look at " + what);
  if (S_ISREG(st.st_mode) && !own_or_roots(st.st_uid)) {
    return fail(what + " belongs to user " + std::to_string(st.st_uid) + "; name a file of your own", EPERM);
  }
  return fd;
}

// Ours alone from here on.
Result<UniqueFd> take_descriptor(int fd) {
  const std::string what = "the audit log's descriptor " + std::to_string(fd);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail_errno("cannot look at " + what);
  if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) return fail(what + " is not open for writing");
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!own) return fail_errno("cannot duplicate " + what);
  ::close(fd);
  return own;
}

bool is_file(const struct stat& st) {
  return S_ISREG(st.st_mode);
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

LogWatch::LogWatch(int fd) {
  if (::fstat(fd, &last_) == 0 && is_file(last_)) fd_ = fd;
}

void LogWatch::look() {
  struct stat now {};
  if (fd_ < 0 || ::fstat(fd_, &now) < 0) return;
  changed_ |= now.st_size != last_.st_size || !same_time(now.st_ctim, last_.st_ctim);
}

void LogWatch::wrote() {
  if (fd_ >= 0) static_cast<void>(::fstat(fd_, &last_));
}

LogName::LogName(std::string name, int fd, bool by_name) : name_(std::move(name)) {
  file_ = by_name && ::fstat(fd, &made_) == 0 && is_file(made_);
}

std::vector<std::string> LogName::problems(uint64_t lost, int error, bool changed) const {
  std::vector<std::string> out;
  if (lost > 0) {
    const std::string what = std::to_string(lost) + (lost == 1 ? " event" : " events") + " could not be written to ";
    out.push_back(fail_errno(what + printable(name_, 256), error).error().message);
  }
  struct stat now {};
  const bool there =
      !file_ || (::stat(name_.c_str(), &now) == 0 && now.st_dev == made_.st_dev && now.st_ino == made_.st_ino);
  if (there && !changed) return out;
  out.push_back("the audit log " + printable(name_, 256) + " was " +
                (there ? "written or changed" : "moved, removed or replaced") +
                " by somebody else while the command ran: do not rely on it");
  return out;
}

EventLog::EventLog(const std::string& name, UniqueFd fd, bool by_name)
    : name_(name, fd.get(), by_name), fd_(std::move(fd)), watch_(fd_.get()) {}

Result<EventLog> EventLog::open(const std::string& name, int descriptor) {
  auto fd = descriptor >= 0 ? take_descriptor(descriptor) : open_file(name);
  if (!fd) return std::unexpected(fd.error());
  return EventLog(name, std::move(*fd), descriptor < 0);
}

void EventLog::append(std::string_view json) {
  std::string line;
  line.reserve(json.size() + 2);
  if (torn_) line += '\n';
  line += json;
  line += '\n';
  watch_.look();
  ssize_t n = 0;
  do {
    n = ::write(fd_.get(), line.data(), line.size());
  } while (n < 0 && errno == EINTR);
  if (n > 0) watch_.wrote();
  if (n == static_cast<ssize_t>(line.size())) {
    torn_ = false;
    return;
  }
  error_ = n < 0 ? errno : ENOSPC;
  if (n > 0) torn_ = true;
  ++lost_;
}

std::vector<std::string> EventLog::problems() {
  watch_.look();
  return name_.problems(lost_, error_, watch_.changed());
}

}  // namespace wrapd::client
