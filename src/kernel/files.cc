// SPDX-License-Identifier: Apache-2.0
#include "kernel/files.h"

#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <utility>

#include "kernel/system_call.h"
#include "kernel/uapi.h"

namespace wrapd::kernel {
namespace {

constexpr long kProcSuperMagic = 0x9fa0;  // linux/magic.h

// True for a procfs in which we have the number that we know ourselves by: one of another pid namespace shows us under
// another one, or not at all.
bool numbers_as_here(int proc) {
  struct statfs fs {};
  if (::fstatfs(proc, &fs) < 0 || fs.f_type != kProcSuperMagic) return false;
  auto self = read_link_at(proc, "self");
  return self && *self == std::to_string(::getpid());
}

}  // namespace

Files::Files(UniqueFd proc, UniqueFd session_proc) : proc_(std::move(proc)) {
  struct stat st {};
  if (::fstat(proc_.get(), &st) == 0) proc_device_ = st.st_dev;
  own_descriptors_.reset(::openat(proc_.get(), "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!session_proc || !numbers_as_here(session_proc.get()) || ::fstat(session_proc.get(), &st) < 0) return;
  if (st.st_dev == proc_device_) return;
  session_proc_ = std::move(session_proc);
  session_proc_device_ = st.st_dev;
}

bool Files::is_proc(dev_t device) {
  return device == proc_device_ || (session_proc_ && device == session_proc_device_);
}

int Files::open_proc_directory(dev_t device, const char* relative) {
  if (!is_proc(device)) return -ENODEV;
  const UniqueFd& proc = device == proc_device_ ? proc_ : session_proc_;
  return result(::openat(proc.get(), relative, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

int Files::open_at(int directory, const char* path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY);
  how.resolve = resolve;
  return result(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

int Files::stat(int fd, struct stat& st) {
  return result(::fstat(fd, &st));
}

int Files::stat_at(int directory, const char* name, struct stat& st) {
  return result(::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW));
}

int Files::identify(int directory, const char* path, ObjectId& id) {
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

uint64_t mount_id_of(int fd) {
  struct statx stx {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) < 0 || (stx.stx_mask & STATX_MNT_ID) == 0) return 0;
  return stx.stx_mnt_id;
}

uint64_t Files::mount_id(int fd) {
  return mount_id_of(fd);
}

bool Files::is_any_proc(int fd) {
  struct statfs fs {};
  // An error must not make a magic link look like an ordinary one.
  return ::fstatfs(fd, &fs) < 0 || fs.f_type == kProcSuperMagic;
}

Result<std::string> Files::read_link(int fd) {
  return read_link_at(fd, "");
}

Result<std::string> Files::real_path(int fd) {
  std::array<char, 16> name;
  std::snprintf(name.data(), name.size(), "%d", fd);
  return read_link_at(own_descriptors_.get(), name.data());
}

}  // namespace wrapd::kernel
