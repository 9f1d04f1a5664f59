// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>

#include "kernel/bind_process.h"
#include "kernel/kernel.h"
#include "kernel/uapi.h"

namespace wrapd::kernel {
namespace {

constexpr long kProcSuperMagic = 0x9fa0;  // linux/magic.h

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

int result(long rc) {
  return rc < 0 ? -errno : static_cast<int>(rc);
}

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

Result<std::string> read_link_at(int directory, const char* name) {
  std::array<char, PATH_MAX + 1> buffer;
  ssize_t n = ::readlinkat(directory, name, buffer.data(), buffer.size());
  if (n < 0) return fail_errno("cannot read a link");
  if (static_cast<size_t>(n) == buffer.size()) return fail("link target is too long", ENAMETOOLONG);
  return std::string(buffer.data(), static_cast<size_t>(n));
}

std::string read_exe(int proc, pid_t tid) {
  ProcName name(tid, "exe");
  auto exe = read_link_at(proc, name.c_str());
  return exe ? std::move(*exe) : std::string();
}

// True for a procfs in which we have the number that we know ourselves by: one of another pid namespace shows us under
// another one, or not at all.
bool numbers_as_here(int proc) {
  struct statfs fs {};
  if (::fstatfs(proc, &fs) < 0 || fs.f_type != kProcSuperMagic) return false;
  auto self = read_link_at(proc, "self");
  return self && *self == std::to_string(::getpid());
}

}  // namespace

RealKernel::RealKernel(UniqueFd listener, UniqueFd proc, UniqueFd session_proc)
    : listener_(std::move(listener)), proc_(std::move(proc)) {
  // Without them nothing is raised, and what needs it fails.
  if (auto capabilities = read_capabilities()) capabilities_ = *capabilities;
  struct stat st {};
  if (::fstat(proc_.get(), &st) == 0) proc_device_ = st.st_dev;
  own_descriptors_.reset(::openat(proc_.get(), "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!session_proc || !numbers_as_here(session_proc.get()) || ::fstat(session_proc.get(), &st) < 0) return;
  if (st.st_dev == proc_device_) return;
  session_proc_ = std::move(session_proc);
  session_proc_device_ = st.st_dev;
}

bool RealKernel::request_sync_wake_up() {
  return ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
}

int RealKernel::receive(seccomp_notif& notification) {
  // The kernel refuses a buffer that is not zero.
  std::memset(&notification, 0, sizeof notification);
  return result(::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &notification));
}

int RealKernel::respond(const seccomp_notif_resp& response) {
  seccomp_notif_resp copy = response;
  return result(::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &copy));
}

bool RealKernel::valid(uint64_t id) {
  return ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

int RealKernel::open_task(pid_t tid, Task& task) {
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
  task.comm.reset(::openat(proc_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  return task.comm ? 0 : -errno;
}

int RealKernel::task_comm(const Task& task, std::string& comm) {
  std::array<char, 64> buffer;
  ssize_t n = ::pread(task.comm.get(), buffer.data(), buffer.size(), 0);
  if (n < 0) return -errno;
  if (n > 0 && buffer[static_cast<size_t>(n) - 1] == '\n') --n;
  comm.assign(buffer.data(), static_cast<size_t>(n));
  return 0;
}

bool RealKernel::in_our_user_namespace(pid_t tid) {
  ProcName name(tid, "ns/user");
  struct stat ours {
  }, theirs{};
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return ::fstatat(proc_.get(), "self/ns/user", &ours, 0) == 0 &&
         ::fstatat(proc_.get(), name.c_str(), &theirs, 0) == 0 && ours.st_dev == theirs.st_dev &&
         ours.st_ino == theirs.st_ino;
}

bool RealKernel::has_root(pid_t tid, int root) {
  UniqueFd theirs(open_task_link(tid, "root"));
  struct stat their_root {
  }, our_root{};
  return theirs && ::fstat(theirs.get(), &their_root) == 0 && ::fstat(root, &our_root) == 0 &&
         their_root.st_dev == our_root.st_dev && their_root.st_ino == our_root.st_ino &&
         mount_id(theirs.get()) == mount_id(root);
}

int RealKernel::own_credentials(TaskCredentials& credentials) {
  return task_credentials(::gettid(), credentials);
}

Result<> RealKernel::act_as(const Credentials& credentials) {
  return kernel::act_as(credentials);
}

int RealKernel::kill_task(int pidfd) {
  return result(::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0));
}

int RealKernel::take_descriptor(int pidfd, int fd) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return result(::syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int RealKernel::take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address, std::span<std::byte> buffer,
                                         ssize_t& read, std::string& exe) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  int taken = result(::syscall(SYS_pidfd_getfd, pidfd, fd, 0));
  if (taken < 0) return taken;
  read = buffer.empty() ? 0 : read_remote(tid, address, buffer);
  exe = read_exe(proc_.get(), tid);
  return taken;
}

ssize_t RealKernel::read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_remote(tid, address, buffer);
}

int RealKernel::open_task_link(pid_t tid, const char* link) {
  ProcName name(tid, link);
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return result(::openat(proc_.get(), name.c_str(), O_PATH | O_CLOEXEC));
}

Result<std::string> RealKernel::task_descriptor_name(pid_t tid, int fd) {
  std::array<char, 32> link;
  std::snprintf(link.data(), link.size(), "fd/%d", fd);
  ProcName name(tid, link.data());
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_link_at(proc_.get(), name.c_str());
}

int RealKernel::task_status(pid_t tid, TaskStatus& status) {
  StatusFile file;
  if (int rc = file.read(proc_.get(), tid); rc < 0) return rc;
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

int RealKernel::task_credentials(pid_t tid, TaskCredentials& credentials) {
  StatusFile file;
  if (int rc = file.read(proc_.get(), tid); rc < 0) return rc;
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

int RealKernel::threads(pid_t tgid, std::span<pid_t> room) {
  ProcName name(tgid, "task");
  UniqueFd fd(::openat(proc_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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

std::string RealKernel::task_exe(pid_t tid) {
  Raised raised(capabilities_, CAP_SYS_PTRACE);
  return read_exe(proc_.get(), tid);
}

bool RealKernel::is_proc(dev_t device) {
  return device == proc_device_ || (session_proc_ && device == session_proc_device_);
}

int RealKernel::open_proc_directory(dev_t device, const char* relative) {
  if (!is_proc(device)) return -ENODEV;
  const UniqueFd& proc = device == proc_device_ ? proc_ : session_proc_;
  return result(::openat(proc.get(), relative, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

int RealKernel::open_at(int directory, const char* path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY);
  how.resolve = resolve;
  return result(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

int RealKernel::stat(int fd, struct stat& st) {
  return result(::fstat(fd, &st));
}

int RealKernel::stat_at(int directory, const char* name, struct stat& st) {
  return result(::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW));
}

int RealKernel::identify(int directory, const char* path, ObjectId& id) {
  struct statx stx {};
  if (::statx(directory, path, AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) < 0) return -errno;
  id = {.device = makedev(stx.stx_dev_major, stx.stx_dev_minor),
        .inode = stx.stx_ino,
        .changed = {.tv_sec = stx.stx_ctime.tv_sec, .tv_nsec = stx.stx_ctime.tv_nsec},
        .links = stx.stx_nlink,
        .mode = stx.stx_mode,
        .owner = stx.stx_uid,
        .mounted = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
  if ((stx.stx_mask & STATX_BTIME) != 0) {
    id.born = {.tv_sec = stx.stx_btime.tv_sec, .tv_nsec = stx.stx_btime.tv_nsec};
  }
  return 0;
}

uint64_t RealKernel::mount_id(int fd) {
  struct statx stx {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 || (stx.stx_mask & STATX_MNT_ID) == 0) return 0;
  return stx.stx_mnt_id;
}

bool RealKernel::is_any_proc(int fd) {
  struct statfs fs {};
  // An error must not make a magic link look like an ordinary one.
  return ::fstatfs(fd, &fs) < 0 || fs.f_type == kProcSuperMagic;
}

Result<std::string> RealKernel::read_link(int fd) {
  return read_link_at(fd, "");
}

Result<std::string> RealKernel::real_path(int fd) {
  std::array<char, 16> name;
  std::snprintf(name.data(), name.size(), "%d", fd);
  return read_link_at(own_descriptors_.get(), name.data());
}

int RealKernel::socket_option(int socket, int option, void* value, socklen_t size) {
  return result(::getsockopt(socket, SOL_SOCKET, option, value, &size));
}

int RealKernel::socket_name(int socket, sockaddr_storage& name, socklen_t& length) {
  length = sizeof name;
  return result(::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length));
}

bool RealKernel::non_blocking(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

int RealKernel::connect(int socket, const sockaddr* address, socklen_t length) {
  return result(::connect(socket, address, length));
}

int RealKernel::connect_object(int socket, int object) {
  // The working directory is /proc/self/fd: no name is looked up in a root that the caller may have furnished.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%d", object);
  return result(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int RealKernel::bind(int socket, const sockaddr* address, socklen_t length) {
  return result(::bind(socket, address, length));
}

int RealKernel::bind_path(const BindRequest& request) {
  return bind_in_own_process(request);
}

// Connecting with the wrong type tells a bound socket (EPROTOTYPE) from a file that only looks like one (ECONNREFUSED),
// and disturbs neither. A bound datagram socket, which is the right type, is found as well. What is not permitted is
// refused before the kernel looks for a socket.
int RealKernel::probe_socket(int object) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe ? connect_object(probe.get(), object) : -errno;
}

bool RealKernel::has_bound_socket(int object) {
  int rc = probe_socket(object);
  return rc == 0 || rc == -EPROTOTYPE;
}

bool RealKernel::is_abandoned_socket(int object) {
  struct stat st {};
  return ::fstat(object, &st) == 0 && S_ISSOCK(st.st_mode) && probe_socket(object) == -ECONNREFUSED;
}

int RealKernel::listen(int socket, int backlog) {
  return result(::listen(socket, backlog));
}

int RealKernel::rename(int old_dir, const char* old_name, int new_dir, const char* new_name, unsigned flags) {
  // The C library turns a call without flags into renameat(2), which our own filter does not know.
  return result(::syscall(SYS_renameat2, old_dir, old_name, new_dir, new_name, flags));
}

int RealKernel::link(int old_dir, const char* old_name, int new_dir, const char* new_name) {
  if (old_name[0] != '\0') return result(::linkat(old_dir, old_name, new_dir, new_name, 0));
  // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; the descriptor's own link does not.
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "self/fd/%d", old_dir);
  return result(::linkat(proc_.get(), name.data(), new_dir, new_name, AT_SYMLINK_FOLLOW));
}

int RealKernel::symlink(const char* target, int directory, const char* name) {
  return result(::symlinkat(target, directory, name));
}

}  // namespace wrapd::kernel
