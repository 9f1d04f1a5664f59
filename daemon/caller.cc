// SPDX-License-Identifier: Apache-2.0
#include "daemon/caller.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <vector>

#include "base/io.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kMaxStatus = 65536;

std::optional<unsigned> field(std::string_view status, std::string_view name, size_t column = 0) {
  std::string key = "\n" + std::string(name) + ":\t";
  size_t at = status.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view value = status.substr(at + key.size());
  value = value.substr(0, value.find('\n'));
  for (; column > 0; --column) {
    size_t tab = value.find('\t');
    if (tab == std::string_view::npos) return std::nullopt;
    value.remove_prefix(tab + 1);
  }
  unsigned number = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || (end != value.data() + value.size() && *end != '\t')) return std::nullopt;
  return number;
}

Result<Confinement> read_confinement(const std::string& directory) {
  auto text = read_file(directory + "/status", kMaxStatus);
  if (!text) return std::unexpected(text.error());
  return parse_status(*text);
}

Result<std::vector<std::string>> threads_of(const std::string& directory) {
  std::unique_ptr<DIR, decltype([](DIR* d) { ::closedir(d); })> list(::opendir((directory + "/task").c_str()));
  if (!list) return fail_errno("cannot list the caller's threads");
  std::vector<std::string> threads;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(list.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] == '.') continue;
    if (threads.size() == kMaxCallerThreads) return fail("the caller has too many threads to look at", EPERM);
    threads.emplace_back(entry->d_name);
  }
  if (errno != 0) return fail_errno("cannot list the caller's threads");
  if (threads.empty()) return fail("the caller has no threads", ESRCH);
  return threads;
}

Result<> check_user_namespace(const std::string& directory) {
  struct stat ours {};
  struct stat theirs {};
  if (::stat("/proc/self/ns/user", &ours) < 0) return fail_errno("cannot see our user namespace");
  if (::stat((directory + "/ns/user").c_str(), &theirs) < 0)
    return fail_errno("cannot see the caller's user namespace");
  if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino) {
    return fail("the caller runs in another user namespace", EPERM);
  }
  return {};
}

std::string proc_directory(const PeerCredentials& peer) {
  return "/proc/" + std::to_string(peer.pid);
}

Result<> check_alive(int pidfd) {
  if (!pidfd_alive(pidfd)) return fail("the caller has gone", ESRCH);
  return {};
}

}  // namespace

Result<Confinement> parse_status(std::string_view status) {
  auto no_new_privs = field(status, "NoNewPrivs");
  auto filters = field(status, "Seccomp_filters");
  auto euid = field(status, "Uid", 1);
  auto egid = field(status, "Gid", 1);
  if (!no_new_privs || !filters || !euid || !egid)
    return fail("a process status lacks NoNewPrivs, Seccomp_filters, Uid or Gid", EPROTO);
  return Confinement{
      .no_new_privs = *no_new_privs, .seccomp_filters = *filters, .effective_uid = *euid, .effective_gid = *egid};
}

Result<> check_unconfined(const PeerCredentials& peer, int pidfd) {
  const std::string directory = proc_directory(peer);
  if (auto alive = check_alive(pidfd); !alive) return alive;
  auto reference = read_confinement("/proc/1");
  if (!reference) return std::unexpected(reference.error());
  // The list is read again afterwards: a thread that came meanwhile was not looked at.
  auto threads = threads_of(directory);
  if (!threads) return std::unexpected(threads.error());
  for (const auto& thread : *threads) {
    auto confinement = read_confinement(directory + "/task/" + thread);
    if (!confinement) return std::unexpected(confinement.error());
    if (confinement->effective_uid != peer.uid) return fail("the caller has changed its user id", EPERM);
    if (confinement->no_new_privs > reference->no_new_privs) {
      return fail("the caller runs with no_new_privs", EPERM);
    }
    if (confinement->seccomp_filters > reference->seccomp_filters) {
      return fail("the caller runs under a seccomp filter", EPERM);
    }
  }
  auto again = threads_of(directory);
  if (!again) return std::unexpected(again.error());
  if (*again != *threads) return fail("the caller's threads come and go", EPERM);
  if (auto same = check_user_namespace(directory); !same) return same;
  return check_alive(pidfd);
}

Result<gid_t> effective_group(const PeerCredentials& peer, int pidfd) {
  if (auto alive = check_alive(pidfd); !alive) return std::unexpected(alive.error());
  auto status = read_confinement(proc_directory(peer));
  if (!status) return std::unexpected(status.error());
  if (auto alive = check_alive(pidfd); !alive) return std::unexpected(alive.error());
  if (status->effective_uid != peer.uid) return fail("the caller has changed its user id", EPERM);
  if (std::ranges::find(peer.groups, status->effective_gid) == peer.groups.end()) {
    return fail("the caller runs with a group that it did not have when it connected", EPERM);
  }
  return status->effective_gid;
}

Result<CallerPlace> open_caller_place(const PeerCredentials& peer, int pidfd) {
  const std::string directory = proc_directory(peer);
  if (auto alive = check_alive(pidfd); !alive) return std::unexpected(alive.error());
  CallerPlace place;
  place.pid = peer.pid;
  place.root.reset(::open((directory + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.root) return fail_errno("cannot open the caller's root directory");
  UniqueFd mount_ns(::open((directory + "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
  if (!mount_ns) return fail_errno("cannot open the caller's mount namespace");
  for (int fd : {place.root.get(), mount_ns.get()}) {
    struct statx st {};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID, &st) < 0) {
      return fail_errno("cannot stat the caller's root or mount namespace");
    }
    place.id += std::to_string(st.stx_dev_major) + ":" + std::to_string(st.stx_dev_minor) + ":" +
                std::to_string(st.stx_ino) + ":" + std::to_string(st.stx_mnt_id) + " ";
  }
  if (auto alive = check_alive(pidfd); !alive) return std::unexpected(alive.error());
  return place;
}

}  // namespace wrapd::daemon
