// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one seam between the supervisor and the kernel. It holds no policy: every method is one thing the kernel does,
// done with the credentials of the calling thread (docs/architecture.md, "Identity"). It has three parts, so that a
// handler of system calls is given what it may have: looking at objects; acting on them, which it gets with a proven
// caller alone (supervisor/caller.h); and tasks and notifications, which it never sees. The capability that lets a
// supervisor look into a target is raised only inside the methods that take a descriptor, read memory, or open or read
// a link of /proc/TID. Unit tests play the kernel by implementing this interface.
//
// Every method is thread-safe, allocates nothing unless said, and returns -errno on failure.

#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/credentials.h"

namespace wrapd::kernel {

// The parts of /proc/TID/status (proc_pid_status(5)) that decisions or answers need.
struct TaskStatus {
  char state = 0;  // 'S': sleeps and can be woken by a signal; 'T': is stopped; 'Z', 'X': has ended
  pid_t tgid = 0;
  mode_t umask = 022;
  unsigned threads = 0;
  uint64_t pending = 0;         // SigPnd: of the thread
  uint64_t shared_pending = 0;  // ShdPnd: of the process
  uint64_t blocked = 0;
  uint64_t ignored = 0;
  uint64_t caught = 0;
};

// What a task is known by for as long as it lives, whatever becomes of its number.
struct Task {
  UniqueFd pidfd;
  bool thread_exact = false;  // false before Linux 6.9: the pidfd is its process's
  UniqueFd comm;              // its /proc/TID/comm
};

// What tells an object from all others, also from one that gets its number when it is gone.
struct ObjectId {
  dev_t device = 0;
  ino_t inode = 0;
  struct timespec born {};  // all zero: the file system does not know
  struct timespec changed {};
  nlink_t links = 0;
  mode_t mode = 0;
  uid_t owner = 0;
  bool mounted = false;  // something is mounted there, and this is what was mounted
  [[nodiscard]] bool has_birth() const { return born.tv_sec != 0 || born.tv_nsec != 0; }
};

// What a bind needs besides the socket: see Kernel::bind_path().
struct BindRequest {
  // What stands for a descriptor of the target's in the name, as in "/proc/self/fd/7/s".
  struct Descriptor {
    int number;
    int directory;  // O_PATH
  };
  int socket;
  const sockaddr* address;  // as the target gave it
  socklen_t length;
  int directory;  // O_PATH: the target's working directory; -1 where the name does not start or lead there
  int parent;     // O_PATH: the judged directory in which alone the socket may come into being
  mode_t umask;
  std::span<const Descriptor> descriptors{};
};

// Looking: names, and descriptors that we hold.
class Objects {
 public:
  virtual ~Objects() = default;

  // True for the device number of our own procfs, and of the session's /proc where that is another instance in which
  // processes have the numbers that they have in ours (a service manager mounts one for a unit).
  [[nodiscard]] virtual bool is_proc(dev_t device) = 0;
  // O_PATH descriptor of a directory of that procfs: "123/fd". -ENODEV if is_proc() is false.
  [[nodiscard]] virtual int open_proc_directory(dev_t device, const char* relative) = 0;
  // openat2(2), always O_CLOEXEC | O_NOCTTY.
  [[nodiscard]] virtual int open_at(int directory, const char* path, uint64_t flags, uint64_t resolve) = 0;
  [[nodiscard]] virtual int stat(int fd, struct stat& st) = 0;
  [[nodiscard]] virtual int stat_at(int directory, const char* name, struct stat& st) = 0;  // does not follow
  // statx(2) of `path` from `directory`, followed; of `directory` itself if `path` is empty.
  [[nodiscard]] virtual int identify(int directory, const char* path, ObjectId& id) = 0;
  [[nodiscard]] virtual uint64_t mount_id(int fd) = 0;  // 0 if unknown
  [[nodiscard]] virtual bool is_any_proc(int fd) = 0;
  [[nodiscard]] virtual Result<std::string> read_link(int fd) = 0;  // of an O_PATH descriptor of a symbolic link
  // The name of an O_PATH descriptor as the kernel has it now (/proc/self/fd/N). Allocates.
  [[nodiscard]] virtual Result<std::string> real_path(int fd) = 0;
  // True if a socket that lives is bound to exactly the socket file behind an O_PATH descriptor; false also where the
  // file's mode keeps the caller from finding out.
  [[nodiscard]] virtual bool has_bound_socket(int object) = 0;
  // True if certainly none is; false where that cannot be found out.
  [[nodiscard]] virtual bool is_abandoned_socket(int object) = 0;

  [[nodiscard]] virtual int socket_option(int socket, int option, void* value, socklen_t size) = 0;  // SOL_SOCKET
  [[nodiscard]] virtual int socket_name(int socket, sockaddr_storage& name, socklen_t& length) = 0;
  [[nodiscard]] virtual bool non_blocking(int fd) = 0;
};

// Acting on a target's behalf.
class Operations {
 public:
  virtual ~Operations() = default;

  [[nodiscard]] virtual int connect(int socket, const sockaddr* address, socklen_t length) = 0;
  // Connects to exactly the socket file behind an O_PATH descriptor.
  [[nodiscard]] virtual int connect_object(int socket, int object) = 0;
  [[nodiscard]] virtual int bind(int socket, const sockaddr* address, socklen_t length) = 0;
  // Binds a pathname in a process of its own (which shares our memory), with the target's working directory and umask,
  // the target's descriptors that the name needs under their numbers, and a Landlock domain in which sockets can be
  // made beneath `parent` alone. The name is resolved in our root, which is the client's; "/proc/self" in it is that
  // process.
  [[nodiscard]] virtual int bind_path(const BindRequest& request) = 0;
  [[nodiscard]] virtual int listen(int socket, int backlog) = 0;

  [[nodiscard]] virtual int rename(int old_dir, const char* old_name, int new_dir, const char* new_name,
                                   unsigned flags) = 0;
  // linkat(2) of `name` in `old_dir`, not following; with an empty name, of the object behind `old_dir` itself.
  [[nodiscard]] virtual int link(int old_dir, const char* old_name, int new_dir, const char* new_name) = 0;
  [[nodiscard]] virtual int symlink(const char* target, int directory, const char* name) = 0;
};

class Kernel : public Objects, public Operations {
 public:
  // seccomp_unotify(2).
  [[nodiscard]] virtual int receive(seccomp_notif& notification) = 0;
  [[nodiscard]] virtual int respond(const seccomp_notif_resp& response) = 0;
  // True while the notification's task is still waiting in this very call. What was read by number before a true
  // answer was that task's.
  [[nodiscard]] virtual bool valid(uint64_t id) = 0;

  // The task that has this number now. Its pidfd is of exactly this thread (PIDFD_THREAD, 6.9), or else of its process:
  // then what is taken by it must be compared with what the thread has.
  [[nodiscard]] virtual int open_task(pid_t tid, Task& task) = 0;
  // The name that the task has now; -ESRCH once it is gone. While it is not, its number is no other task's.
  [[nodiscard]] virtual int task_comm(const Task& task, std::string& comm) = 0;
  // Of the task that has this number now. Allocates.
  [[nodiscard]] virtual int task_credentials(pid_t tid, TaskCredentials& credentials) = 0;
  [[nodiscard]] virtual bool in_our_user_namespace(pid_t tid) = 0;
  // True if the task's root directory is the one behind `root` (O_PATH), in the same mount.
  [[nodiscard]] virtual bool has_root(pid_t tid, int root) = 0;
  // SIGKILL.
  [[nodiscard]] virtual int kill_task(int pidfd) = 0;
  // pidfd_getfd(2): our duplicate (close-on-exec) of the target's descriptor. Any file, O_PATH too.
  [[nodiscard]] virtual int take_descriptor(int pidfd, int fd) = 0;
  // Bytes read, which may be fewer than asked for; -EFAULT if none could be.
  [[nodiscard]] virtual ssize_t read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer) = 0;
  // take_descriptor(), read_memory() and task_exe(), privileged once; `read` is what the second gives. Nothing is read
  // if the descriptor cannot be had.
  [[nodiscard]] virtual int take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address,
                                                     std::span<std::byte> buffer, ssize_t& read, std::string& exe) {
    int taken = take_descriptor(pidfd, fd);
    if (taken < 0) return taken;
    read = buffer.empty() ? 0 : read_memory(tid, address, buffer);
    exe = task_exe(tid);
    return taken;
  }
  // O_PATH descriptor of what /proc/TID/LINK leads to; LINK is "cwd", "root" or "fd/N".
  [[nodiscard]] virtual int open_task_link(pid_t tid, const char* link) = 0;
  // Target of the symbolic link /proc/TID/fd/N, as text ("socket:[123]"). Allocates.
  [[nodiscard]] virtual Result<std::string> task_descriptor_name(pid_t tid, int fd) = 0;
  [[nodiscard]] virtual int task_status(pid_t tid, TaskStatus& status) = 0;
  // The threads of a process, and how many they are; -E2BIG, with the room full, if there are more. Allocates.
  [[nodiscard]] virtual int threads(pid_t tgid, std::span<pid_t> room) = 0;
  // The file that the task executes, for the record only. Allocates; empty where it cannot be had.
  [[nodiscard]] virtual std::string task_exe(pid_t tid) = 0;

  // Of the calling thread.
  [[nodiscard]] virtual int own_credentials(TaskCredentials& credentials) = 0;
  // kernel::act_as().
  [[nodiscard]] virtual Result<> act_as(const Credentials& credentials) = 0;
};

class RealKernel : public Kernel {
 public:
  // Takes over the listener. `proc` is an O_PATH descriptor of our own /proc. The working directory of the process
  // must be /proc/self/fd of that /proc before the first connect_object().
  // `session_proc`, if there is one, is the session's /proc: its word is not believed, it is looked at (is_proc()).
  RealKernel(UniqueFd listener, UniqueFd proc, UniqueFd session_proc = {});

  int receive(seccomp_notif& notification) override;
  int respond(const seccomp_notif_resp& response) override;
  bool valid(uint64_t id) override;
  int open_task(pid_t tid, Task& task) override;
  int task_comm(const Task& task, std::string& comm) override;
  int task_credentials(pid_t tid, TaskCredentials& credentials) override;
  bool in_our_user_namespace(pid_t tid) override;
  bool has_root(pid_t tid, int root) override;
  int kill_task(int pidfd) override;
  int take_descriptor(int pidfd, int fd) override;
  ssize_t read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer) override;
  int take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address, std::span<std::byte> buffer,
                               ssize_t& read, std::string& exe) override;
  int open_task_link(pid_t tid, const char* link) override;
  Result<std::string> task_descriptor_name(pid_t tid, int fd) override;
  int task_status(pid_t tid, TaskStatus& status) override;
  int threads(pid_t tgid, std::span<pid_t> room) override;
  std::string task_exe(pid_t tid) override;
  int own_credentials(TaskCredentials& credentials) override;
  Result<> act_as(const Credentials& credentials) override;
  bool is_proc(dev_t device) override;
  int open_proc_directory(dev_t device, const char* relative) override;
  int open_at(int directory, const char* path, uint64_t flags, uint64_t resolve) override;
  int stat(int fd, struct stat& st) override;
  int stat_at(int directory, const char* name, struct stat& st) override;
  int identify(int directory, const char* path, ObjectId& id) override;
  uint64_t mount_id(int fd) override;
  bool is_any_proc(int fd) override;
  Result<std::string> read_link(int fd) override;
  Result<std::string> real_path(int fd) override;
  int socket_option(int socket, int option, void* value, socklen_t size) override;
  int socket_name(int socket, sockaddr_storage& name, socklen_t& length) override;
  bool non_blocking(int fd) override;
  int connect(int socket, const sockaddr* address, socklen_t length) override;
  int connect_object(int socket, int object) override;
  int bind(int socket, const sockaddr* address, socklen_t length) override;
  int bind_path(const BindRequest& request) override;
  bool has_bound_socket(int object) override;
  bool is_abandoned_socket(int object) override;
  int listen(int socket, int backlog) override;
  int rename(int old_dir, const char* old_name, int new_dir, const char* new_name, unsigned flags) override;
  int link(int old_dir, const char* old_name, int new_dir, const char* new_name) override;
  int symlink(const char* target, int directory, const char* name) override;

  [[nodiscard]] int listener() const { return listener_.get(); }
  // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (6.6); false where the kernel has none, which costs speed only.
  bool request_sync_wake_up();

 private:
  int probe_socket(int object);

  UniqueFd listener_;
  UniqueFd proc_;
  dev_t proc_device_ = 0;
  UniqueFd session_proc_;
  dev_t session_proc_device_ = 0;
  ThreadCapabilities capabilities_;  // of the process
  UniqueFd own_descriptors_;         // /proc/self/fd, so that a name in it is one step
};

}  // namespace wrapd::kernel
