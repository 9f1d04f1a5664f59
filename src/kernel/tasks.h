// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tasks by number and by pidfd: who they are, what they have, what is read and taken of them. The capability that lets
// a supervisor look into a target is raised only inside the methods that take a descriptor, read memory, or open or
// read a link of /proc/TID.

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

class Tasks {
 public:
  // `proc` is an O_PATH descriptor of our own /proc; borrowed. To be made with the capabilities that the process keeps.
  explicit Tasks(int proc);
  virtual ~Tasks() = default;

  // The task that has this number now. Its pidfd is of exactly this thread (PIDFD_THREAD, 6.9), or else of its process:
  // then what is taken by it must be compared with what the thread has.
  [[nodiscard]] virtual int open_task(pid_t tid, Task& task);
  // The name that the task has now; -ESRCH once it is gone. While it is not, its number is no other task's.
  [[nodiscard]] virtual int task_comm(const Task& task, std::string& comm);
  // Of the task that has this number now. Allocates.
  [[nodiscard]] virtual int task_credentials(pid_t tid, TaskCredentials& credentials);
  [[nodiscard]] virtual bool in_our_user_namespace(pid_t tid);
  // True if the task's root directory is the one behind `root` (O_PATH), in the same mount.
  [[nodiscard]] virtual bool has_root(pid_t tid, int root);
  // SIGKILL.
  [[nodiscard]] virtual int kill_task(int pidfd);
  // pidfd_getfd(2): our duplicate (close-on-exec) of the target's descriptor. Any file, O_PATH too.
  [[nodiscard]] virtual int take_descriptor(int pidfd, int fd);
  // Bytes read, which may be fewer than asked for; -EFAULT if none could be.
  [[nodiscard]] virtual ssize_t read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer);
  // take_descriptor(), read_memory() and task_exe(), privileged once; `read` is what the second gives. Nothing is read
  // if the descriptor cannot be had.
  [[nodiscard]] virtual int take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address,
                                                     std::span<std::byte> buffer, ssize_t& read, std::string& exe);
  // O_PATH descriptor of what /proc/TID/LINK leads to; LINK is "cwd", "root" or "fd/N".
  [[nodiscard]] virtual int open_task_link(pid_t tid, const char* link);
  // Target of the symbolic link /proc/TID/fd/N, as text ("socket:[123]"). Allocates.
  [[nodiscard]] virtual Result<std::string> task_descriptor_name(pid_t tid, int fd);
  [[nodiscard]] virtual int task_status(pid_t tid, TaskStatus& status);
  // The threads of a process, and how many they are; -E2BIG, with the room full, if there are more. Allocates.
  [[nodiscard]] virtual int threads(pid_t tgid, std::span<pid_t> room);
  // The file that the task executes, for the record only. Allocates; empty where it cannot be had.
  [[nodiscard]] virtual std::string task_exe(pid_t tid);

  // Of the calling thread.
  [[nodiscard]] virtual int own_credentials(TaskCredentials& credentials);
  // kernel::act_as().
  [[nodiscard]] virtual Result<> act_as(const Credentials& credentials);

 private:
  int proc_;
  ThreadCapabilities capabilities_;  // of the process
};

}  // namespace wrapd::kernel
