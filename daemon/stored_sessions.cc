// SPDX-License-Identifier: Apache-2.0
#include "daemon/stored_sessions.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "base/credentials.h"
#include "base/io.h"
#include "daemon/fd_store.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kMaxFdInfo = 65536;

// Of one session, each there once or not at all.
struct Parts {
  UniqueFd* channel = nullptr;
  UniqueFd* pidfd = nullptr;
  std::optional<SessionFacts> facts;
  std::optional<EndOrder> end;
};

constexpr const char* kTwo = "there are two of what there must be one";

Result<> put(UniqueFd*& slot, UniqueFd& fd) {
  if (std::exchange(slot, &fd) != nullptr) return fail(kTwo);
  return {};
}

Result<> put_record(Parts& parts, int fd) {
  auto record = read_session_record(fd);
  if (!record) return std::unexpected(record.error());
  const bool end = std::holds_alternative<EndOrder>(*record);
  if (end ? parts.end.has_value() : parts.facts.has_value()) return fail(kTwo);
  if (end) {
    parts.end = std::get<EndOrder>(std::move(*record));
  } else {
    parts.facts = std::get<SessionFacts>(std::move(*record));
  }
  return {};
}

Result<> put(Parts& parts, UniqueFd& fd) {
  struct stat st {};
  if (::fstat(fd.get(), &st) == 0) {
    if (S_ISSOCK(st.st_mode)) return put(parts.channel, fd);
    if (::fcntl(fd.get(), F_GET_SEALS) >= 0) return put_record(parts, fd.get());
    if (pid_of_pidfd(fd.get())) return put(parts.pidfd, fd);
  }
  return fail("a descriptor is neither a channel, a pidfd nor a record");
}

int option(int socket, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

Result<> check_channel(int fd) {
  if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_SEQPACKET || option(fd, SO_ACCEPTCONN) != 0) {
    return fail("its channel is no connected AF_UNIX SOCK_SEQPACKET socket");
  }
  // A pair's credentials are its maker's: an earlier run of the service.
  auto maker = peer_credentials(fd, false);
  if (!maker) return fail("its channel: " + maker.error().message);
  if (maker->uid != ::geteuid()) return fail("its channel was made by uid " + std::to_string(maker->uid));
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    return fail_errno("cannot set up its channel");
  }
  return {};
}

Result<> check_supervisor(int pidfd, pid_t expected) {
  auto pid = pid_of_pidfd(pidfd);
  if (!pid) return std::unexpected(pid.error());
  if (*pid != expected && *pid != -1) {
    return fail("its pidfd is of process " + std::to_string(*pid) + ", not of its supervisor " +
                std::to_string(expected));
  }
  if (::fcntl(pidfd, F_SETFD, FD_CLOEXEC) < 0) return fail_errno("cannot set up its pidfd");
  return {};
}

// Leaves in `fds` what it did not take: all of it on error.
Result<StoredSession> judge(const std::string& name, std::vector<UniqueFd>& fds) {
  Parts parts;
  for (UniqueFd& fd : fds) {
    if (auto known = put(parts, fd); !known) return std::unexpected(known.error());
  }
  auto& [channel, pidfd, facts, end] = parts;
  if (channel == nullptr || pidfd == nullptr || !facts) return fail("its channel, pidfd or record is missing");
  if (FdStore::name_of(facts->id) != name || (end && end->id != facts->id)) {
    return fail("its record is of another session");
  }
  if (auto good = check_channel(channel->get()); !good) return std::unexpected(good.error());
  if (auto good = check_supervisor(pidfd->get(), facts->supervisor_pid); !good) return std::unexpected(good.error());
  StoredSession session{.facts = std::move(*facts), .process = {}, .end = std::move(end)};
  session.process.channel = std::move(*channel);
  session.process.pidfd = std::move(*pidfd);
  session.process.pid = session.facts.supervisor_pid;
  return session;
}

}  // namespace

Result<pid_t> pid_of_pidfd(int fd) {
  auto info = read_file("/proc/self/fdinfo/" + std::to_string(fd), kMaxFdInfo);
  if (!info) return std::unexpected(info.error());
  constexpr std::string_view kKey = "\nPid:\t";
  size_t at = info->find(kKey);
  if (at == std::string::npos) return fail("not a pidfd");
  std::string_view value = std::string_view(*info).substr(at + kKey.size());
  value = value.substr(0, value.find('\n'));
  pid_t pid = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), pid);
  if (error != std::errc() || end != value.data() + value.size()) return fail("not a pidfd");
  return pid;
}

StoredSessions sort_stored_sessions(std::vector<PassedFd> fds) {
  std::map<std::string, std::vector<UniqueFd>> entries;
  for (PassedFd& passed : fds) entries[std::move(passed.name)].push_back(std::move(passed.fd));
  StoredSessions sorted;
  for (auto& [name, parts] : entries) {
    auto session = judge(name, parts);
    if (session) {
      sorted.found.push_back(std::move(*session));
    } else {
      sorted.refused.push_back({.name = name, .why = session.error().message, .fds = std::move(parts)});
    }
  }
  return sorted;
}

}  // namespace wrapd::daemon
