// SPDX-License-Identifier: Apache-2.0
#pragma once

// Looking at names, and at what we hold of them.

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::kernel {

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

class Files {
 public:
  // `proc` is an O_PATH descriptor of our own /proc. `session_proc`, if there is one, is the session's /proc: its word
  // is not believed, it is looked at (is_proc()).
  explicit Files(UniqueFd proc, UniqueFd session_proc = {});
  virtual ~Files() = default;

  // True for the device number of our own procfs, and of the session's /proc where that is another instance in which
  // processes have the numbers that they have in ours (a service manager mounts one for a unit).
  [[nodiscard]] bool is_proc(dev_t device);
  // O_PATH descriptor of a directory of that procfs: "123/fd". -ENODEV if is_proc() is false.
  [[nodiscard]] int open_proc_directory(dev_t device, const char* relative);
  // openat2(2), always O_CLOEXEC | O_NOCTTY.
  [[nodiscard]] virtual int open_at(int directory, const char* path, uint64_t flags, uint64_t resolve);
  [[nodiscard]] int stat(int fd, struct stat& st);
  [[nodiscard]] int stat_at(int directory, const char* name, struct stat& st);  // does not follow
  // statx(2) of `path` from `directory`, followed; of `directory` itself if `path` is empty.
  [[nodiscard]] int identify(int directory, const char* path, ObjectId& id);
  [[nodiscard]] uint64_t mount_id(int fd);  // 0 if unknown
  [[nodiscard]] bool is_any_proc(int fd);
  [[nodiscard]] Result<std::string> read_link(int fd);  // of an O_PATH descriptor of a symbolic link
  // The name of an O_PATH descriptor as the kernel has it now (/proc/self/fd/N). Allocates.
  [[nodiscard]] Result<std::string> real_path(int fd);

 protected:
  [[nodiscard]] int proc() const { return proc_.get(); }

 private:
  UniqueFd proc_;
  dev_t proc_device_ = 0;
  UniqueFd session_proc_;
  dev_t session_proc_device_ = 0;
  UniqueFd own_descriptors_;  // /proc/self/fd, so that a name in it is one step
};

}  // namespace wrapd::kernel
