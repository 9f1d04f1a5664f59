// SPDX-License-Identifier: Apache-2.0
#include "supervisor/caller.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstring>

namespace wrapd::supervisor {

namespace {

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

// The program is read with the rest: the task cannot become another program while it waits.
bool Caller::waits() const {
  if (checked_) return true;
  if (!program_) program_ = Program{.comm = kernel_->task_comm(tid), .exe = kernel_->task_exe(tid)};
  checked_ = kernel_->valid(id);
  return checked_;
}

// Pins the thread that asks, checks that it is the caller's, and takes its descriptor by `take`.
template <class Take>
Result<UniqueFd> Caller::take_by(int fd, Take take) const {
  checked_ = false;
  bool thread_exact = false;
  int task = kernel_->open_task(tid, thread_exact);
  if (task < 0) return fail("target is gone", kRefused);
  UniqueFd pidfd(task);
  if (kernel_->check_owner(pidfd.get()) < 0) return fail("target is not the caller's", kRefused);
  int taken = take(pidfd.get());
  if (taken == -EBADF) return fail("bad descriptor", EBADF);
  if (taken < 0) return fail("cannot take the target's descriptor", kRefused);
  UniqueFd socket(taken);
  if (!thread_exact) {
    // The pidfd is the process's. Take the file only if the thread has the same one under that number.
    struct stat st {};
    auto name = kernel_->task_descriptor_name(tid, fd);
    if (!name || kernel_->stat(socket.get(), st) < 0) return fail("cannot compare descriptors", kRefused);
    if (*name != "socket:[" + std::to_string(st.st_ino) + "]") return fail("descriptor is not the thread's", kRefused);
  }
  return socket;
}

Result<UniqueFd> Caller::take_descriptor(int fd) const {
  return take_by(fd, [&](int pidfd) { return kernel_->take_descriptor(pidfd, fd); });
}

Result<SocketCall> Caller::take_socket_call() const {
  SocketCall taken;
  int fd = static_cast<int>(arguments[0]);
  auto size = address_length(arguments[2]);
  auto buffer = bytes_of(taken.address, size.value_or(0));
  ssize_t read = 0;
  auto socket = take_by(
      fd, [&](int pidfd) { return kernel_->take_descriptor_and_read(pidfd, fd, tid, arguments[1], buffer, read); });
  if (!socket) return std::unexpected(socket.error());
  if (!size) return std::unexpected(size.error());
  if (auto whole = check_read(read, *size); !whole) return std::unexpected(whole.error());
  taken.socket = std::move(*socket);
  taken.address.length = static_cast<socklen_t>(*size);
  return taken;
}

Result<AddressCopy> Caller::copy_address(uint64_t address, uint64_t length) const {
  checked_ = false;
  auto size = address_length(length);
  if (!size) return std::unexpected(size.error());
  AddressCopy copy;
  copy.length = static_cast<socklen_t>(*size);
  if (*size == 0) return copy;
  ssize_t read = kernel_->read_memory(tid, address, bytes_of(copy, *size));
  if (auto whole = check_read(read, *size); !whole) return std::unexpected(whole.error());
  return copy;
}

Result<std::string> Caller::copy_path(uint64_t address) const {
  checked_ = false;
  std::string path;
  std::array<std::byte, 256> chunk;
  // Chunks end at page boundaries, so that a string at the end of a mapping is read like the kernel reads it.
  while (path.size() < PATH_MAX) {
    size_t room = std::min(chunk.size() - address % chunk.size(), PATH_MAX - path.size());
    ssize_t n = kernel_->read_memory(tid, address, std::span(chunk).first(room));
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

int Caller::open_link(const char* link) const {
  return open_process_link(tid, link);
}

int Caller::open_process_link(pid_t process, const char* link) const {
  checked_ = false;
  return kernel_->open_task_link(process, link);
}

int Caller::status(kernel::TaskStatus& status) const {
  checked_ = false;
  return kernel_->task_status(tid, status);
}

void Caller::name(Record& record) const {
  if (!waits()) return;
  record.comm = program_->comm;
  record.exe = program_->exe;
}

Result<Caller> Callers::prove(const Notification& call) {
  return Caller(kernel_, call);
}

Outcome Callers::serve(const Notification& call, Handler& handler, CallContext& context) {
  auto caller = prove(call);
  if (!caller) return {.answer = Answer::errno_of(EACCES), .record = Record{.operation = "system call"}};
  Outcome outcome = handler.handle(*caller, context);
  if (!outcome.record) return outcome;
  // What was done is told in any case, and who is asked about something was there when the question was put.
  if (outcome.record->done || outcome.question != 0 || caller->waits()) {
    caller->name(*outcome.record);
    return outcome;
  }
  // It is gone, and what was read last may be another's: nothing was done, and nothing can be told.
  return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
}

void Callers::end(const Notification& call, Record& record) {
  if (call.tid == 0) return;
  const Caller caller(kernel_, call);
  bool thread_exact = false;
  UniqueFd task(kernel_.open_task(call.tid, thread_exact));
  // The pidfd is its own if it is still in the call afterwards.
  if (!caller.waits()) return;
  caller.name(record);
  // What cannot be killed (another user's, or not of our pid namespace) gets its error, now and ever.
  if (task) (void)kernel_.kill_task(task.get());
}

}  // namespace wrapd::supervisor
