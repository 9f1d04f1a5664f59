// SPDX-License-Identifier: Apache-2.0
#pragma once

// The per-caller sockets, sessions/ID/{notify,signal,ptrace}.sock. The directory stays root's (0711): the caller never
// owns a directory in which root works, so nobody can put anything in the place of what root has just made. Each socket
// is bound under umask 0177, checked, given to the caller without following links, checked again, and listened on
// before its name is told to anybody. A check that fails ends the session.
//
// AF_UNIX has no bindat(2): names are bound through /proc/self/fd/DIRECTORY, which cannot be renamed away. The umask
// belongs to the whole process; no other thread creates files (worker.h).

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon {

inline constexpr std::array<std::string_view, 3> kHandoffSockets = {"notify.sock", "signal.sock", "ptrace.sock"};

// Opens `path` (made with mode 0755 if it is missing) and its `sessions` (0711). Refuses symbolic links, and
// directories that root does not own. `umask` must not be relied on: modes are set.
struct RuntimeDirectory {
  UniqueFd top;
  UniqueFd sessions;
  std::string sessions_path;
  [[nodiscard]] static Result<RuntimeDirectory> open(const std::string& path);
};

// The steps, each on the name of a socket in `directory`.
[[nodiscard]] Result<UniqueFd> bind_socket(int directory, const std::string& name);
// A socket with one link, of this owner and mode. What it is, for the next check.
[[nodiscard]] Result<struct stat> check_socket(int directory, const std::string& name, uid_t owner, mode_t mode);
// Gives the socket `made` to `owner`: chown without following links and the second check.
[[nodiscard]] Result<> give_socket(int directory, const std::string& name, const struct stat& made, uid_t owner);
// For a service that may not chown: 0666 on the very inode `made`. Token and peer uid then decide alone.
[[nodiscard]] Result<> open_socket_to_all(int directory, const std::string& name, const struct stat& made);

// One session's sockets. Removes them and their directory when it goes.
class SessionDirectory {
 public:
  // A failure leaves nothing behind. EPERM where the service may not chown and `permissive_fallback` is off.
  [[nodiscard]] static Result<SessionDirectory> create(const RuntimeDirectory& runtime, uid_t owner,
                                                       bool permissive_fallback);
  // That of a session which an earlier run of the service opened; it may be gone already.
  [[nodiscard]] static SessionDirectory adopt(const RuntimeDirectory& runtime, const std::string& id);
  SessionDirectory(SessionDirectory&& other) noexcept;
  SessionDirectory& operator=(SessionDirectory&&) = delete;
  ~SessionDirectory() { remove(); }

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // False once the hand-offs are done, and it was removed.
  [[nodiscard]] bool exists() const noexcept;
  // In the order of kHandoffSockets, listening.
  [[nodiscard]] const std::array<UniqueFd, 3>& listeners() const { return listeners_; }
  void close_listeners();
  void remove() noexcept;
  // Leaves it where it is: the session goes on without the service. A later start adopts it, or sweeps it away.
  void leave() noexcept { sessions_ = -1; }

 private:
  SessionDirectory(int sessions, std::string id, std::string path)
      : sessions_(sessions), id_(std::move(id)), path_(std::move(path)) {}
  [[nodiscard]] Result<> make_sockets(uid_t owner, bool permissive_fallback);
  int sessions_ = -1;  // the RuntimeDirectory's; -1: nothing to remove
  std::string id_;
  std::string path_;
  UniqueFd directory_;
  std::array<UniqueFd, 3> listeners_;
};

// Removes directories of sessions that nobody answers for: left by an earlier run of the service, and older than any
// hand-off may last. `in_use` tells the ids to keep. Returns how many are left that were too young.
[[nodiscard]] Result<size_t> sweep_sessions(const RuntimeDirectory& runtime, std::chrono::seconds min_age,
                                            const std::function<bool(std::string_view)>& in_use);

}  // namespace wrapd::daemon
