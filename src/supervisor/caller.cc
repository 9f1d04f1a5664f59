// SPDX-License-Identifier: Apache-2.0
#include "supervisor/caller.h"

#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstring>

#include "base/credentials.h"
#include "plan/traps.h"

namespace wrapd::supervisor {

namespace {

// The kernel takes the length as an int.
ForTarget<size_t> address_length(uint64_t length) {
  int size = static_cast<int>(static_cast<uint32_t>(length));
  if (size < 0 || static_cast<size_t>(size) > sizeof(sockaddr_storage)) return target_errno(EINVAL);
  return static_cast<size_t>(size);
}

ForTarget<> check_read(ssize_t read, size_t wanted) {
  if (read >= 0 && static_cast<size_t>(read) == wanted) return {};
  if (read >= 0 || read == -EFAULT) return target_errno(EFAULT);
  return refusal("cannot read the target's memory");
}

// Those without which the kernel refuses this call with this error.
uint64_t capabilities_for(const Notification& call, int error) {
  using kernel::capability_bit;
  constexpr uint64_t kNames = capability_bit(CAP_DAC_OVERRIDE) | capability_bit(CAP_DAC_READ_SEARCH);
  switch (call.number) {
    case SYS_connect:
      return kNames | (error == EPERM ? capability_bit(CAP_NET_ADMIN) : 0);  // netlink(7)
    case SYS_bind:
    case SYS_listen:
      return kNames | capability_bit(CAP_NET_BIND_SERVICE);
    case SYS_renameat2:
      if ((call.arguments[4] & RENAME_WHITEOUT) != 0)
        return kNames | capability_bit(CAP_FOWNER) | capability_bit(CAP_MKNOD);
      [[fallthrough]];
    default:
      return kNames | capability_bit(CAP_FOWNER);
  }
}

std::span<std::byte> bytes_of(AddressCopy& copy, size_t size) {
  return {reinterpret_cast<std::byte*>(&copy.storage), size};
}

}  // namespace

Record record_of(int number, std::string reason) {
  const plan::Trap* trap = plan::find_trap(number);
  if (trap == nullptr) return {.operation = "system call", .reason = std::move(reason)};
  return {.operation = trap->operation,
          .decision = {.of_class = plan::kGroups[static_cast<size_t>(trap->group)].of_class},
          .reason = std::move(reason)};
}

// The program is read with the rest: the task cannot become another program while it waits.
bool Caller::waits() const {
  if (checked_) return true;
  if (!exe_) exe_ = kernel_->task_exe(tid);
  checked_ = source_->valid(id);
  return checked_;
}

// Takes the thread's descriptor by `take`.
template <class Take>
ForTarget<UniqueFd> Caller::take_by(int fd, Take take) const {
  checked_ = false;
  int taken = take(known_->task.pidfd.get());
  if (taken == -EBADF) return target_errno(EBADF);
  if (taken < 0) return refusal("cannot take the target's descriptor");
  UniqueFd socket(taken);
  if (!known_->task.thread_exact) {
    // The pidfd is the process's. Take the file only if the thread has the same one under that number.
    struct stat st {};
    auto name = kernel_->task_descriptor_name(tid, fd);
    if (!name || kernel_->stat(socket.get(), st) < 0) return refusal("cannot compare descriptors");
    if (*name != "socket:[" + std::to_string(st.st_ino) + "]") return refusal("descriptor is not the thread's");
  }
  return socket;
}

ForTarget<UniqueFd> Caller::take_descriptor(int fd) const {
  return take_by(fd, [&](int pidfd) { return kernel_->take_descriptor(pidfd, fd); });
}

ForTarget<SocketCall> Caller::take_socket_call() const {
  SocketCall taken;
  int fd = static_cast<int>(arguments[0]);
  auto size = address_length(arguments[2]);
  auto buffer = bytes_of(taken.address, size.value_or(0));
  ssize_t read = 0;
  std::string exe;
  auto socket = take_by(fd, [&](int pidfd) {
    return kernel_->take_descriptor_and_read(pidfd, fd, tid, arguments[1], buffer, read, exe);
  });
  if (!socket) return std::unexpected(socket.error());
  exe_ = std::move(exe);
  if (!size) return std::unexpected(size.error());
  if (auto whole = check_read(read, *size); !whole) return std::unexpected(whole.error());
  taken.socket = std::move(*socket);
  taken.address.length = static_cast<socklen_t>(*size);
  return taken;
}

ForTarget<AddressCopy> Caller::copy_address(uint64_t address, uint64_t length) const {
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

ForTarget<std::string> Caller::copy_path(uint64_t address) const {
  checked_ = false;
  std::string path;
  std::array<std::byte, 256> chunk;
  // Chunks end at page boundaries, so that a string at the end of a mapping is read like the kernel reads it.
  while (path.size() < PATH_MAX) {
    size_t room = std::min(chunk.size() - address % chunk.size(), PATH_MAX - path.size());
    ssize_t n = kernel_->read_memory(tid, address, std::span(chunk).first(room));
    if (n == -EFAULT || n == 0) return target_errno(EFAULT);
    if (n < 0) return refusal("cannot read the target's memory");
    auto bytes = static_cast<size_t>(n);
    const auto* text = reinterpret_cast<const char*>(chunk.data());
    size_t length = ::strnlen(text, bytes);
    path.append(text, length);
    if (length < bytes) return path;
    address += bytes;
  }
  return target_errno(ENAMETOOLONG);
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
  record.comm = comm_;
  record.exe = *exe_;
}

Callers::Callers(kernel::Kernel& kernel, kernel::TrapSource& source, int root)
    : kernel_(kernel), source_(source), root_(root), actors_(kernel) {
  kernel::TaskCredentials own;
  // If they cannot be read, every call is refused.
  if (kernel_.own_credentials(own) < 0) return;
  own_ = own.acting();
  permitted_ = own.permitted;
}

void Callers::begin_with(pid_t first, int pidfd) {
  kernel::TaskCredentials credentials;
  uniform_ = kernel_.task_credentials(first, credentials) == 0 && pidfd_alive(pidfd) && credentials.settled() &&
             credentials.acting() == own_;
}

std::shared_ptr<const Caller::Known> Callers::recall(pid_t tid) {
  std::lock_guard lock(lock_);
  auto at = std::ranges::find_if(known_, [&](const auto& known) { return known->tid == tid; });
  if (at == known_.end()) return nullptr;
  std::rotate(at, at + 1, known_.end());
  return known_.back();
}

void Callers::remember(std::shared_ptr<const Caller::Known> known) {
  std::shared_ptr<const Caller::Known> oldest;  // closed without the lock
  std::lock_guard lock(lock_);
  if (known_.size() == kMostKnown) {
    oldest = std::move(known_.front());
    known_.erase(known_.begin());
  }
  known_.push_back(std::move(known));
}

void Callers::forget(pid_t tid) {
  std::lock_guard lock(lock_);
  std::erase_if(known_, [&](const auto& known) { return known->tid == tid; });
}

// A task that is seen for the first time. Neither its root nor its user namespace can change afterwards: the filter
// refuses what would change them.
ForTarget<std::shared_ptr<const Caller::Known>> Callers::look_at(const Notification& call, std::string& comm) {
  auto known = std::make_shared<Caller::Known>();
  known->tid = call.tid;
  const bool found = kernel_.open_task(call.tid, known->task) == 0 &&
                     kernel_.task_credentials(call.tid, known->credentials) == 0 &&
                     kernel_.task_comm(known->task, comm) == 0;
  const bool same_namespace = found && kernel_.in_our_user_namespace(call.tid);
  const bool same_root = same_namespace && kernel_.has_root(call.tid, root_);
  if (!source_.valid(call.id)) return target_errno(ESRCH);
  if (!found) return refusal("cannot tell who asks");
  if (!same_namespace) return refusal("the program is in another user namespace");
  if (!same_root) return refusal("the program has another root directory");
  remember(known);
  return known;
}

// What we act with: the task's, as far as we can.
ForTarget<> Callers::choose_credentials(Caller& caller, const kernel::TaskCredentials& task) const {
  caller.credentials_ = task.acting();
  kernel::Credentials& wanted = caller.credentials_;
  auto permitted = [&](int capability) { return (permitted_ & kernel::capability_bit(capability)) != 0; };
  const bool same_uids = wanted.uid == own_.uid && wanted.fs_uid == own_.fs_uid;
  const bool same_gids = wanted.gid == own_.gid && wanted.fs_gid == own_.fs_gid && wanted.groups == own_.groups;
  if ((!same_uids && !permitted(CAP_SETUID)) || (!same_gids && !permitted(CAP_SETGID))) {
    return refusal("the program has other ids than its session, which its supervisor cannot take: " + text_of(wanted));
  }
  caller.missing_ = wanted.capabilities & ~permitted_;
  wanted.capabilities &= permitted_;
  return {};
}

ForTarget<Caller> Callers::prove(const Notification& call) {
  Caller caller(kernel_, source_, call);
  caller.known_ = recall(call.tid);
  // Gone since: its number is another task's now.
  if (caller.known_ && kernel_.task_comm(caller.known_->task, caller.comm_) < 0) {
    forget(call.tid);
    caller.known_.reset();
  }
  const bool known_before = caller.known_ != nullptr;
  if (!known_before) {
    auto looked = look_at(call, caller.comm_);
    if (!looked) return std::unexpected(looked.error());
    caller.known_ = std::move(*looked);
  }
  const kernel::TaskCredentials* credentials = &caller.known_->credentials;
  kernel::TaskCredentials now;
  if (known_before && !uniform_) {
    const int read = kernel_.task_credentials(call.tid, now);
    if (!source_.valid(call.id)) return target_errno(ESRCH);
    if (read < 0) return refusal("cannot tell who asks");
    credentials = &now;
  }
  if (auto chosen = choose_credentials(caller, *credentials); !chosen) return std::unexpected(chosen.error());
  return caller;
}

Outcome Callers::refuse(const Notification& call, const Failure& failure) {
  const auto* refused = std::get_if<Refusal>(&failure);
  if (refused == nullptr) return {.answer = Answer::errno_of(EINTR)};  // the task is gone, and nobody sees it
  Outcome outcome{.answer = Answer::errno_of(EACCES), .record = record_of(call.number, refused->why)};
  name_unproven(call, *outcome.record);
  return outcome;
}

void Callers::name_unproven(const Notification& call, Record& record) {
  if (call.tid == 0) return;
  kernel::Task task;
  std::string comm;
  if (kernel_.open_task(call.tid, task) < 0 || kernel_.task_comm(task, comm) < 0) return;
  std::string exe = kernel_.task_exe(call.tid);
  if (!source_.valid(call.id)) return;
  record.comm = std::move(comm);
  record.exe = std::move(exe);
}

Outcome Callers::serve(const Notification& call, Handler& handler, CallContext& context) {
  auto caller = prove(call);
  if (!caller) return refuse(call, caller.error());
  Outcome outcome;
  auto handle = [&] { outcome = handler.handle(*caller, context); };
  if (caller->credentials_ == own_) {
    handle();
  } else if (auto acted = actors_.run(caller->credentials_, handle); !acted) {
    return refuse(call, Refusal{"cannot act as " + text_of(caller->credentials_) + ": " + acted.error().message});
  }
  if (caller->unfinished_) {
    outcome.record = std::move(caller->unfinished_);
    if (!outcome.record->done) outcome.answer = Answer::errno_of(EACCES);
  } else if (caller->missing_ != 0) {
    explain_missing(*caller, outcome);
  }
  if (!outcome.record) return outcome;
  // What was done is told in any case, and who is asked about something was there when the question was put.
  if (outcome.record->done || outcome.question != 0 || caller->waits()) {
    caller->name(*outcome.record);
    return outcome;
  }
  // It is gone, and what was read last may be another's: nothing was done, and nothing can be told.
  return {.answer = Answer::errno_of(EINTR)};
}

// A refusal by the kernel that the task's own capabilities might have prevented.
void Callers::explain_missing(const Caller& caller, Outcome& outcome) {
  if (outcome.answer.error != EACCES && outcome.answer.error != EPERM) return;
  if (outcome.record && !outcome.record->done) return;
  const uint64_t missing = caller.missing_ & capabilities_for(caller, outcome.answer.error);
  if (missing == 0) return;
  if (!outcome.record) outcome.record = record_of(caller.number);
  outcome.record->done = false;
  outcome.record->reason =
      "the supervisor of this session cannot use " + kernel::names_of_capabilities(missing) + ", which the program has";
}

void Callers::end(const Notification& call, Record& record) {
  if (call.tid == 0) return;
  kernel::Task task;
  if (kernel_.open_task(call.tid, task) < 0) return;
  kernel::TaskCredentials credentials;
  const bool known = kernel_.task_credentials(call.tid, credentials) == 0;
  name_unproven(call, record);
  // The pidfd is its own if it is still in the call afterwards.
  if (!source_.valid(call.id)) return;
  // What cannot be killed (another user's, or not of our pid namespace) gets its error, now and ever.
  auto kill = [&] { (void)kernel_.kill_task(task.pidfd.get()); };
  Caller caller(kernel_, source_, call);
  if (!known || !choose_credentials(caller, credentials) || caller.credentials_ == own_) {
    kill();
  } else {
    (void)actors_.run(caller.credentials_, kill);
  }
}

}  // namespace wrapd::supervisor
