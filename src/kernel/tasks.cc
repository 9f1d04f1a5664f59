// SPDX-License-Identifier: Apache-2.0
#include "kernel/tasks.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

#include "kernel/system_call.h"
#include "kernel/uapi.h"

namespace wrapd::kernel {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// "TID/rest" for an openat() relative to /proc.
struct ProcName {
  std::array<char, 64> text;
  ProcName(pid_t tid, const char* rest) { std::snprintf(text.data(), text.size(), "%d/%s", tid, rest); }
  [[nodiscard]] const char* c_str() const { return text.data(); }
};

bool parse_number(std::string_view text, int base, uint64_t& value) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end != text.data();
}

// Takes the first decimal number off `text`.
bool next_number(std::string_view& text, uint64_t& value) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

// /proc/TID/status, whole: the list of groups may be long (NGROUPS_MAX).
class StatusFile {
 public:
  [[nodiscard]] int read(int proc, pid_t tid) {
    ProcName name(tid, "status");
    UniqueFd fd(::openat(proc, name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return -errno;
    std::span<char> room(small_);
    size_t used = 0;
    for (;;) {
      ssize_t n = ::read(fd.get(), room.data() + used, room.size() - used);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return -errno;
      if (n == 0) break;
      used += static_cast<size_t>(n);
      if (used < room.size()) continue;
      if (!large_.empty()) return -E2BIG;
      large_.resize(kMostBytes);
      std::memcpy(large_.data(), small_.data(), used);
      room = large_;
    }
    text_ = {room.data(), used};
    return 0;
  }
  // The first line holds comm, in which a program may write what it likes but a newline (escaped by the kernel).
  template <class Each>
  void for_each_line(Each each) const {
    for (std::string_view rest = text_; !rest.empty();) {
      size_t end = rest.find('\n');
      each(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
  }

 private:
  static constexpr size_t kMostBytes = size_t{1} << 20;
  std::array<char, 4096> small_;
  std::string large_;
  std::string_view text_;
};

ssize_t read_remote(pid_t tid, uint64_t address, std::span<std::byte> buffer) {
  iovec local{.iov_base = buffer.data(), .iov_len = buffer.size()};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process
  iovec remote{.iov_base = reinterpret_cast<void*>(address), .iov_len = buffer.size()};
  ssize_t n = ::process_vm_readv(tid, &local, 1, &remote, 1, 0);
  return n < 0 ? -errno : n;
}

std::string read_exe(int proc, pid_t tid) {
  ProcName name(tid, "exe");
  auto exe = read_link_at(proc, name.c_str());
  return exe ? std::move(*exe) : std::string();
}

}  // namespace

Tasks::Tasks(int proc) : proc_(proc) {
  // Without them nothing is raised, and what needs it fails.
  if (auto capabilities = read_capabilities()) capabilities_ = *capabilities;
}

int Tasks::open_task(pid_t tid, Task& task) {
  task.thread_exact = true;
  int fd = result(::syscall(SYS_pidfd_open, tid, PIDFD_THREAD));
  if (fd == -EINVAL) {
    // Before 6.9 there are pidfds of processes only.
    task.thread_exact = false;
    TaskStatus status;
    if (int rc = task_status(tid, status); rc < 0) return rc;
    fd = result(::syscall(SYS_pidfd_open, status.tgid, 0));
  }
  if (fd < 0) return fd;
  task.pidfd.reset(fd);
  ProcName name(tid, "comm");
  task.comm.reset(::openat(proc_, name.c_str(), O_RDONLY | O_CLOEXEC));
  return task.comm ? 0 : -errno;
}

int Tasks::task_comm(const Task& task, std::string& comm) {
  std::array<char, 64> buffer;
  ssize_t n = ::pread(task.comm.get(), buffer.data(), buffer.size(), 0);
  if (n < 0) return -errno;
  if (n > 0 && buffer[static_cast<size_t>(n) - 1] == '\n') --n;
  comm.assign(buffer.data(), static_cast<size_t>(n));
  return 0;
}

bool Tasks::in_our_user_namespace(pid_t tid) {
  ProcName name(tid, "ns/user");
  struct stat ours {
  }, theirs{};
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return ::fstatat(proc_, "self/ns/user", &ours, 0) == 0 && ::fstatat(proc_, name.c_str(), &theirs, 0) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

bool Tasks::has_root(pid_t tid, int root) {
  UniqueFd theirs(open_task_link(tid, "root"));
  struct stat their_root {
  }, our_root{};
  return theirs && ::fstat(theirs.get(), &their_root) == 0 && ::fstat(root, &our_root) == 0 &&
         their_root.st_dev == our_root.st_dev && their_root.st_ino == our_root.st_ino &&
         mount_id_of(theirs.get()) == mount_id_of(root);
}

int Tasks::own_credentials(TaskCredentials& credentials) {
  return task_credentials(::gettid(), credentials);
}

Result<> Tasks::act_as(const Credentials& credentials) {
  return kernel::act_as(credentials);
}

int Tasks::kill_task(int pidfd) {
  return result(::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0));
}

int Tasks::take_descriptor(int pidfd, int fd) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return result(::syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int Tasks::take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address, std::span<std::byte> buffer,
                                    ssize_t& read, std::string& exe) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  int taken = result(::syscall(SYS_pidfd_getfd, pidfd, fd, 0));
  if (taken < 0) return taken;
  read = buffer.empty() ? 0 : read_remote(tid, address, buffer);
  exe = read_exe(proc_, tid);
  return taken;
}

ssize_t Tasks::read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_remote(tid, address, buffer);
}

int Tasks::open_task_link(pid_t tid, const char* link) {
  ProcName name(tid, link);
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return result(::openat(proc_, name.c_str(), O_PATH | O_CLOEXEC));
}

Result<std::string> Tasks::task_descriptor_name(pid_t tid, int fd) {
  std::array<char, 32> link;
  std::snprintf(link.data(), link.size(), "fd/%d", fd);
  ProcName name(tid, link.data());
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_link_at(proc_, name.c_str());
}

int Tasks::task_status(pid_t tid, TaskStatus& status) {
  StatusFile file;
  if (int rc = file.read(proc_, tid); rc < 0) return rc;
  unsigned found = 0;
  file.for_each_line([&](std::string_view line) {
    auto field = [&](std::string_view key, int base, uint64_t& value) {
      if (!line.starts_with(key) || !parse_number(line.substr(key.size()), base, value)) return false;
      ++found;
      return true;
    };
    constexpr std::string_view kState = "State:\t";
    if (line.starts_with(kState) && line.size() > kState.size()) {
      status.state = line[kState.size()];
      ++found;
    }
    uint64_t value = 0;
    if (field("Umask:", 8, value)) status.umask = static_cast<mode_t>(value);
    if (field("Tgid:", 10, value)) status.tgid = static_cast<pid_t>(value);
    if (field("Threads:", 10, value)) status.threads = static_cast<unsigned>(value);
    if (field("SigPnd:", 16, value)) status.pending = value;
    if (field("ShdPnd:", 16, value)) status.shared_pending = value;
    if (field("SigBlk:", 16, value)) status.blocked = value;
    if (field("SigIgn:", 16, value)) status.ignored = value;
    if (field("SigCgt:", 16, value)) status.caught = value;
  });
  return found == 9 ? 0 : -ESRCH;
}

int Tasks::task_credentials(pid_t tid, TaskCredentials& credentials) {
  StatusFile file;
  if (int rc = file.read(proc_, tid); rc < 0) return rc;
  credentials = {};
  unsigned found = 0;
  file.for_each_line([&](std::string_view line) {
    std::string_view rest;
    auto is = [&](std::string_view key) {
      if (!line.starts_with(key)) return false;
      rest = line.substr(key.size());
      return true;
    };
    uint64_t value = 0;
    if (is("Uid:") || is("Gid:")) {
      auto& ids = line[0] == 'U' ? credentials.uids : credentials.gids;
      size_t count = 0;
      while (count < ids.size() && next_number(rest, value)) ids[count++] = static_cast<uid_t>(value);
      if (count == ids.size()) ++found;
    } else if (is("Groups:")) {
      while (next_number(rest, value)) credentials.groups.push_back(static_cast<gid_t>(value));
      ++found;
    } else if (is("CapPrm:") && parse_number(rest, 16, credentials.permitted)) {
      ++found;
    } else if (is("CapEff:") && parse_number(rest, 16, credentials.effective)) {
      ++found;
    } else if (is("NoNewPrivs:") && parse_number(rest, 10, value)) {
      credentials.no_new_privs = value == 1;
      ++found;
    }
  });
  std::ranges::sort(credentials.groups);
  return found == 6 ? 0 : -ESRCH;
}

int Tasks::threads(pid_t tgid, std::span<pid_t> room) {
  ProcName name(tgid, "task");
  UniqueFd fd(::openat(proc_, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return -errno;
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd.get()));
  if (!directory) return -errno;
  (void)fd.release();  // the stream's now
  size_t count = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) return errno != 0 ? -errno : static_cast<int>(count);
    uint64_t tid = 0;
    if (!parse_number(entry->d_name, 10, tid)) continue;  // "." and ".."
    if (count == room.size()) return -E2BIG;
    room[count++] = static_cast<pid_t>(tid);
  }
}

std::string Tasks::task_exe(pid_t tid) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_exe(proc_, tid);
}

}  // namespace wrapd::kernel
