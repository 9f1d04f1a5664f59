// SPDX-License-Identifier: Apache-2.0
#include "supervisor/task.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstring>

namespace wrapd::supervisor {

namespace {

// Pins the thread that asks, checks that it is the caller's, and takes its descriptor by `take`.
template <class Take>
Result<UniqueFd> take_by(kernel::Kernel& kernel, const Notification& call, int fd, Take take) {
  bool thread_exact = false;
  int task = kernel.open_task(call.tid, thread_exact);
  if (task < 0) return fail("target is gone", kRefused);
  UniqueFd pidfd(task);
  if (kernel.check_owner(pidfd.get()) < 0) return fail("target is not the caller's", kRefused);
  int taken = take(pidfd.get());
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

// The kernel takes the length as an int.
Result<size_t> address_length(uint64_t length) {
  int size = static_cast<int>(static_cast<uint32_t>(length));
  if (size < 0 || static_cast<size_t>(size) > sizeof(sockaddr_storage)) return fail("bad address length", EINVAL);
  return static_cast<size_t>(size);
}

Result<> check_read(ssize_t read, size_t wanted) {
  if (read >= 0 && static_cast<size_t>(read) == wanted) return {};
  if (read >= 0 || read == -EFAULT) return fail("bad address", EFAULT);
  return fail("cannot read the target's memory", kRefused);
}

std::span<std::byte> bytes_of(AddressCopy& copy, size_t size) {
  return {reinterpret_cast<std::byte*>(&copy.storage), size};
}

}  // namespace

Result<UniqueFd> take_descriptor(kernel::Kernel& kernel, const Notification& call, int fd) {
  return take_by(kernel, call, fd, [&](int pidfd) { return kernel.take_descriptor(pidfd, fd); });
}

Result<SocketCall> take_socket_call(kernel::Kernel& kernel, const Notification& call) {
  SocketCall taken;
  int fd = static_cast<int>(call.arguments[0]);
  auto size = address_length(call.arguments[2]);
  auto buffer = bytes_of(taken.address, size.value_or(0));
  ssize_t read = 0;
  auto socket = take_by(kernel, call, fd, [&](int pidfd) {
    return kernel.take_descriptor_and_read(pidfd, fd, call.tid, call.arguments[1], buffer, read);
  });
  if (!socket) return std::unexpected(socket.error());
  if (!size) return std::unexpected(size.error());
  if (auto whole = check_read(read, *size); !whole) return std::unexpected(whole.error());
  taken.socket = std::move(*socket);
  taken.address.length = static_cast<socklen_t>(*size);
  return taken;
}

Result<AddressCopy> copy_address(kernel::Kernel& kernel, const Notification& call, uint64_t address, uint64_t length) {
  auto size = address_length(length);
  if (!size) return std::unexpected(size.error());
  AddressCopy copy;
  copy.length = static_cast<socklen_t>(*size);
  if (*size == 0) return copy;
  ssize_t read = kernel.read_memory(call.tid, address, bytes_of(copy, *size));
  if (auto whole = check_read(read, *size); !whole) return std::unexpected(whole.error());
  return copy;
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
