// SPDX-License-Identifier: Apache-2.0
#include "supervisor/task.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstring>

namespace wrapd::supervisor {

Result<UniqueFd> take_descriptor(kernel::Kernel& kernel, const Notification& call, int fd) {
  bool thread_exact = false;
  int task = kernel.open_task(call.tid, thread_exact);
  if (task < 0) return fail("target is gone", kRefused);
  UniqueFd pidfd(task);
  if (kernel.check_owner(pidfd.get()) < 0) return fail("target is not the caller's", kRefused);
  int taken = kernel.take_descriptor(pidfd.get(), fd);
  if (taken == -EBADF) return fail("bad descriptor", EBADF);
  if (taken < 0) return fail("cannot take the target's descriptor", kRefused);
  UniqueFd socket(taken);
  if (!thread_exact) {
    // The pidfd is the process's. Take the file only if the thread has the same one under that number.
    struct stat st {};
    auto name = kernel.task_descriptor_name(call.tid, fd);
    if (!name || kernel.stat(socket.get(), st) < 0) return fail("cannot compare descriptors", kRefused);
    if (*name != "socket:[" + std::to_string(st.st_ino) + "]") return fail("descriptor is not the thread's", kRefused);
  }
  return socket;
}

Result<AddressCopy> copy_address(kernel::Kernel& kernel, const Notification& call, uint64_t address, uint64_t length) {
  // The kernel takes an int.
  int size = static_cast<int>(static_cast<uint32_t>(length));
  AddressCopy copy;
  if (size < 0 || static_cast<size_t>(size) > sizeof copy.storage) return fail("bad address length", EINVAL);
  copy.length = static_cast<socklen_t>(size);
  if (size == 0) return copy;
  std::span buffer(reinterpret_cast<std::byte*>(&copy.storage), static_cast<size_t>(size));
  ssize_t n = kernel.read_memory(call.tid, address, buffer);
  if (n == size) return copy;
  if (n >= 0 || n == -EFAULT) return fail("bad address", EFAULT);
  return fail("cannot read the target's memory", kRefused);
}

Result<std::string> copy_path(kernel::Kernel& kernel, const Notification& call, uint64_t address) {
  std::string path;
  std::array<std::byte, 256> chunk;
  // Chunks end at page boundaries, so that a string at the end of a mapping is read like the kernel reads it.
  while (path.size() < PATH_MAX) {
    size_t room = std::min(chunk.size() - address % chunk.size(), PATH_MAX - path.size());
    ssize_t n = kernel.read_memory(call.tid, address, std::span(chunk).first(room));
    if (n == -EFAULT || n == 0) return fail("bad address", EFAULT);
    if (n < 0) return fail("cannot read the target's memory", kRefused);
    auto bytes = static_cast<size_t>(n);
    const auto* text = reinterpret_cast<const char*>(chunk.data());
    size_t length = ::strnlen(text, bytes);
    path.append(text, length);
    if (length < bytes) return path;
    address += bytes;
  }
  return fail("name too long", ENAMETOOLONG);
}

}  // namespace wrapd::supervisor
