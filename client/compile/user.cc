// SPDX-License-Identifier: Apache-2.0
#include "client/compile/user.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "base/io.h"
#include "base/unique_fd.h"

namespace wrapd::compile {
namespace {

constexpr const char* kGetent = "/usr/bin/getent";
constexpr size_t kMaxEntry = 65536;

// What `getent passwd UID` prints; empty if it prints nothing.
std::string ask(uid_t uid) {
  std::array<int, 2> ends;
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return {};
  UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  std::string program(kGetent);
  std::string database("passwd");
  std::string key = std::to_string(uid);
  char* argv[] = {program.data(), database.data(), key.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, to.get(), STDOUT_FILENO);
  pid_t pid = -1;
  int error = ::posix_spawn(&pid, kGetent, &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  to.reset();
  if (error != 0) return {};
  auto text = read_all(from.get(), kMaxEntry);
  from.reset();  // one that has more to say does not wait for us
  int status = 0;
  pid_t ended = -1;
  do ended = ::waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  return text && ended == pid && status == 0 ? std::move(*text) : std::string();
}

}  // namespace

// passwd(5): name, password, uid, gid, comment, home, shell.
std::optional<User> find_user(uid_t uid) {
  const std::string text = ask(uid);
  std::string_view rest = std::string_view(text).substr(0, text.find('\n'));
  std::array<std::string_view, 7> fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    const size_t colon = rest.find(':');
    // The last has none behind it, the others have one.
    if ((colon == std::string_view::npos) != (i + 1 == fields.size())) return std::nullopt;
    fields[i] = rest.substr(0, colon);
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
  }
  if (fields[0].empty() || fields[2] != std::to_string(uid)) return std::nullopt;
  return User{.name = std::string(fields[0]), .home = std::string(fields[5])};
}

}  // namespace wrapd::compile
