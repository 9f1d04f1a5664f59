// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/caller.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/io.h"

namespace wrapd::wrapctl {

Result<policy::Variables> variables_of(const std::optional<std::string>& user) {
  std::vector<char> buffer(4096);
  passwd entry{};
  passwd* found = nullptr;
  int failure = 0;
  for (;;) {
    failure = user ? ::getpwnam_r(user->c_str(), &entry, buffer.data(), buffer.size(), &found)
                   : ::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found);
    if (failure != ERANGE || buffer.size() > (1U << 20)) break;
    buffer.resize(buffer.size() * 2);
  }
  std::string who = user ? "user '" + printable(*user, 64) + "'" : "user id " + std::to_string(::getuid());
  if (found == nullptr && failure != 0 && failure != ENOENT && failure != ESRCH) {
    return fail_errno("cannot look up " + who, failure);
  }
  if (found == nullptr) return fail(who + " is not in the passwd database; name another with --user");
  policy::Variables out;
  out.home = entry.pw_dir;
  out.user = entry.pw_name;
  out.uid = std::to_string(entry.pw_uid);
  out.xdg_runtime_dir = "/run/user/" + out.uid;
  // Left empty where there is none: then only a policy that uses it is an error.
  std::error_code none;
  out.cwd = std::filesystem::current_path(none).string();
  return out;
}

bool is_confined() {
  auto status = read_file("/proc/self/status", size_t{64} << 10);
  return status && status->contains("\nNoNewPrivs:\t1\n") && status->contains("\nSeccomp:\t2\n");
}

}  // namespace wrapd::wrapctl
