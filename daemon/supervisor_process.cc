// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor_process.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <vector>

#include "base/credentials.h"
#include "base/io.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

// unix(7), socket(7): what a supervisor may have sent while nobody reads. The kernel doubles it; more than a hundred
// reports of the usual size, and much fewer than are taken for a flood, whatever net.core.wmem_default is.
constexpr int kReportsQueue = 65536;

struct SpawnAttributes {
  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t actions{};
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&actions);
  }
  ~SpawnAttributes() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  // Zero or an errno value.
  int prepare(const std::function<int(posix_spawn_file_actions_t*)>& files) {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = ::posix_spawnattr_setsigmask(&attributes, &none);
    if (rc == 0) rc = ::posix_spawnattr_setsigdefault(&attributes, &all);
    if (rc == 0) rc = ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return rc == 0 ? files(&actions) : rc;
  }
};

}  // namespace

Result<ChildProcess> spawn_child(const std::string& program, std::span<std::string> words,
                                 const std::function<int(posix_spawn_file_actions_t*)>& files) {
  SpawnAttributes how;
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* envp[] = {nullptr};
  ChildProcess child;
  int rc = how.prepare(files);
  if (rc == 0) rc = ::posix_spawn(&child.pid, program.c_str(), &how.actions, &how.attributes, argv.data(), envp);
  if (rc != 0) return fail_errno("cannot start " + printable(program), rc);
  // Ours and not yet reaped: the number is its own.
  child.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.pidfd) {
    auto error = fail_errno("cannot get the pidfd of " + printable(program));
    ::kill(child.pid, SIGKILL);
    while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return error;
  }
  return child;
}

Result<> SupervisorProcess::configure(const wire::SupervisorConfig& config, std::span<const int> fds) const {
  std::string text = wire::encode(config);
  // A caller can be in thousands of groups.
  if (text.size() > wire::kMaxSupervisorConfig) return fail("a session's configuration is too long", EMSGSIZE);
  if (auto sent = wire::send_packet(channel.get(), text, fds, true); !sent) {
    return fail("cannot send a session's configuration: " + sent.error().message, sent.error().code);
  }
  return {};
}

Result<SupervisorProcess> SupervisorProcess::spawn(const std::string& program) {
  // Only our end does not wait: the supervisor waits on its own.
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  if (!pair) return std::unexpected(pair.error());
  const UniqueFd theirs = std::move(pair->theirs);
  if (::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kReportsQueue, sizeof kReportsQueue) < 0) {
    return fail_errno("cannot set up a socket pair");
  }
  SupervisorProcess process;
  process.channel = std::move(pair->ours);
  std::string words[] = {"wrap-supervisor"};
  auto child = spawn_child(program, words, [&theirs](posix_spawn_file_actions_t* actions) {
    // First: the channel may be 0 or 1 itself.
    int rc = ::posix_spawn_file_actions_adddup2(actions, theirs.get(), kSupervisorChannel);
    if (rc == 0) rc = ::posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = ::posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
    return rc;
  });
  if (!child) return std::unexpected(child.error());
  process.pid = child->pid;
  process.pidfd = std::move(child->pidfd);
  return process;
}

Result<SupervisorIds> find_supervisor_ids(const std::string& user) {
  std::vector<char> buffer(65536);
  struct passwd entry {};
  struct passwd* found = nullptr;
  int rc;
  do rc = ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  while (rc == EINTR);
  if (rc != 0) return fail_errno("cannot look up the user " + printable(user), rc);
  if (found == nullptr) return fail("there is no user " + printable(user) + "; run systemd-sysusers");
  if (found->pw_uid == 0 || found->pw_gid == 0) return fail("the user " + printable(user) + " must not be root");
  return SupervisorIds{.uid = found->pw_uid, .gid = found->pw_gid};
}

Result<std::string> reap(int pidfd) {
  siginfo_t info{};
  int rc;
  do rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
  while (rc < 0 && errno == EINTR);
  if (rc < 0 && errno == ECHILD && pidfd_alive(pidfd)) return fail("still running", EAGAIN);
  if (rc < 0) return fail_errno("cannot wait for a supervisor");
  if (info.si_pid == 0) return fail("still running", EAGAIN);
  if (info.si_code == CLD_EXITED) {
    return "exited with status " + std::to_string(info.si_status);
  }
  return "was killed by signal " + std::to_string(info.si_status);
}

Result<> kill_process(int pidfd) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) < 0 && errno != ESRCH) {
    return fail_errno("cannot kill a process");
  }
  return {};
}

Result<> kill_and_reap(int pidfd) {
  if (auto killed = kill_process(pidfd); !killed) return killed;
  siginfo_t info{};
  int rc;
  do rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED);
  while (rc < 0 && errno == EINTR);
  if (rc < 0) return fail_errno("cannot wait for a process");
  return {};
}

}  // namespace wrapd::daemon
