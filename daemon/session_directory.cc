// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <vector>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr int kBacklog = 64;
constexpr mode_t kPrivate = 0600;
constexpr mode_t kPublic = 0666;

// Opens or makes the directory `name` in `parent`, root's, with exactly `mode`.
Result<UniqueFd> own_directory(int parent, const std::string& name, mode_t mode) {
  if (::mkdirat(parent, name.c_str(), 0700) < 0 && errno != EEXIST) return fail_errno("cannot make " + printable(name));
  UniqueFd fd(::openat(parent, name.c_str(), kDirectoryFlags));
  if (!fd) return fail_errno("cannot open the directory " + printable(name));
  struct stat st {};
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot stat " + printable(name));
  if (st.st_uid != ::geteuid()) return fail(printable(name) + " does not belong to root; remove it");
  if ((st.st_mode & 07777) != mode && ::fchmod(fd.get(), mode) < 0) {
    return fail_errno("cannot set the mode of " + printable(name));
  }
  return fd;
}

bool is_session_id(std::string_view name) {
  return name.size() == 32 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Empties and removes sessions/ID. Only names that the service makes are there.
bool remove_session(int sessions, const std::string& id) noexcept {
  UniqueFd directory(::openat(sessions, id.c_str(), kDirectoryFlags));
  if (directory) {
    for (auto name : kHandoffSockets) {
      if (::unlinkat(directory.get(), name.data(), 0) < 0 && errno != ENOENT) return false;
    }
  }
  return ::unlinkat(sessions, id.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
}

}  // namespace

Result<RuntimeDirectory> RuntimeDirectory::open(const std::string& path) {
  auto top = own_directory(AT_FDCWD, path, 0755);
  if (!top) return std::unexpected(top.error());
  auto sessions = own_directory(top->get(), "sessions", 0711);
  if (!sessions) return std::unexpected(sessions.error());
  return RuntimeDirectory{
      .top = std::move(*top), .sessions = std::move(*sessions), .sessions_path = path + "/sessions"};
}

Result<UniqueFd> bind_socket(int directory, const std::string& name) {
  struct sockaddr_un address {};
  address.sun_family = AF_UNIX;
  std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  if (path.size() >= sizeof address.sun_path) return fail("socket name is too long", ENAMETOOLONG);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("cannot make a hand-off socket");
  mode_t old = ::umask(0177);
  int rc = ::bind(fd.get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof address);
  int error = errno;
  ::umask(old);
  if (rc < 0) return fail_errno("cannot bind " + name, error);
  return fd;
}

Result<struct stat> check_socket(int directory, const std::string& name, uid_t owner, mode_t mode) {
  struct stat st {};
  if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0) return fail_errno("cannot stat " + name);
  if (!S_ISSOCK(st.st_mode)) return fail(name + " is not a socket", EPROTO);
  if (st.st_nlink != 1) return fail(name + " has other links", EPROTO);
  if (st.st_uid != owner) return fail(name + " has another owner", EPROTO);
  if ((st.st_mode & 07777) != mode) return fail(name + " has another mode", EPROTO);
  return st;
}

namespace {

Result<> check_same(int directory, const std::string& name, const struct stat& made, uid_t owner, mode_t mode) {
  auto now = check_socket(directory, name, owner, mode);
  if (!now) return std::unexpected(now.error());
  if (now->st_dev != made.st_dev || now->st_ino != made.st_ino) return fail(name + " is another file now", EPROTO);
  return {};
}

}  // namespace

Result<> give_socket(int directory, const std::string& name, const struct stat& made, uid_t owner) {
  if (::fchownat(directory, name.c_str(), owner, static_cast<gid_t>(-1), AT_SYMLINK_NOFOLLOW) < 0) {
    return fail_errno("cannot give " + name + " to the caller", errno);
  }
  return check_same(directory, name, made, owner, kPrivate);
}

Result<> open_socket_to_all(int directory, const std::string& name, const struct stat& made) {
  UniqueFd pin(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!pin) return fail_errno("cannot open " + name);
  struct stat st {};
  if (::fstat(pin.get(), &st) < 0) return fail_errno("cannot stat " + name);
  if (st.st_dev != made.st_dev || st.st_ino != made.st_ino) return fail(name + " is another file now", EPROTO);
  if (::chmod(("/proc/self/fd/" + std::to_string(pin.get())).c_str(), kPublic) < 0) {
    return fail_errno("cannot open " + name + " to the caller");
  }
  return check_same(directory, name, made, ::geteuid(), kPublic);
}

Result<SessionDirectory> SessionDirectory::create(const RuntimeDirectory& runtime, uid_t owner,
                                                  bool permissive_fallback) {
  std::string id = random_hex(16);
  if (::mkdirat(runtime.sessions.get(), id.c_str(), 0700) < 0) return fail_errno("cannot make a session directory");
  SessionDirectory session(runtime.sessions.get(), id, runtime.sessions_path + "/" + id);
  session.directory_.reset(::openat(runtime.sessions.get(), id.c_str(), kDirectoryFlags));
  if (!session.directory_) return fail_errno("cannot open a session directory");
  if (auto made = session.make_sockets(owner, permissive_fallback); !made) return std::unexpected(made.error());
  // Last: nobody but root can reach a socket before all three are checked.
  if (::fchmod(session.directory_.get(), 0711) < 0) return fail_errno("cannot open a session directory to its caller");
  session.directory_.reset();
  return session;
}

SessionDirectory SessionDirectory::adopt(const RuntimeDirectory& runtime, const std::string& id) {
  return {runtime.sessions.get(), id, runtime.sessions_path + "/" + id};
}

bool SessionDirectory::exists() const noexcept {
  return sessions_ >= 0 && ::faccessat(sessions_, id_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Result<> SessionDirectory::make_sockets(uid_t owner, bool permissive_fallback) {
  for (size_t i = 0; i < kHandoffSockets.size(); ++i) {
    const std::string name(kHandoffSockets[i]);
    auto socket = bind_socket(directory_.get(), name);
    if (!socket) return std::unexpected(socket.error());
    auto made = check_socket(directory_.get(), name, ::geteuid(), kPrivate);
    if (!made) return std::unexpected(made.error());
    auto given = give_socket(directory_.get(), name, *made, owner);
    if (!given && given.error().code == EPERM && permissive_fallback) {
      given = open_socket_to_all(directory_.get(), name, *made);
    }
    if (!given) return given;
    if (::listen(socket->get(), kBacklog) < 0) return fail_errno("cannot listen on " + name);
    listeners_[i] = std::move(*socket);
  }
  return {};
}

SessionDirectory::SessionDirectory(SessionDirectory&& other) noexcept
    : sessions_(std::exchange(other.sessions_, -1)),
      id_(std::move(other.id_)),
      path_(std::move(other.path_)),
      directory_(std::move(other.directory_)),
      listeners_(std::move(other.listeners_)) {}

void SessionDirectory::close_listeners() {
  for (auto& listener : listeners_) listener.reset();
}

void SessionDirectory::remove() noexcept {
  if (int sessions = std::exchange(sessions_, -1); sessions >= 0) {
    // What cannot be removed now is swept away at the next start.
    static_cast<void>(remove_session(sessions, id_));
  }
}

Result<size_t> sweep_sessions(const RuntimeDirectory& runtime, std::chrono::seconds min_age,
                              const std::function<bool(std::string_view)>& in_use) {
  UniqueFd fd(::openat(runtime.sessions.get(), ".", kDirectoryFlags));
  if (!fd) return fail_errno("cannot open " + runtime.sessions_path);
  std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> list(::fdopendir(fd.get()));
  if (!list) return fail_errno("cannot list " + runtime.sessions_path);
  static_cast<void>(fd.release());  // the list's now
  std::vector<std::string> old;
  size_t young = 0;
  const auto now = std::chrono::system_clock::now();
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(list.get());
    if (entry == nullptr) break;
    if (!is_session_id(entry->d_name) || in_use(entry->d_name)) continue;
    struct stat st {};
    if (::fstatat(runtime.sessions.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) continue;
    const auto age = now - std::chrono::system_clock::from_time_t(st.st_mtime);
    // A clock that was set back must not keep one for ever: from the future counts as old.
    if (age >= std::chrono::seconds(0) && age < min_age) {
      ++young;
    } else {
      old.emplace_back(entry->d_name);
    }
  }
  if (errno != 0) return fail_errno("cannot list " + runtime.sessions_path);
  for (const auto& id : old) {
    if (!remove_session(runtime.sessions.get(), id))
      return fail_errno("cannot remove " + runtime.sessions_path + "/" + id);
  }
  return young;
}

}  // namespace wrapd::daemon
