// SPDX-License-Identifier: Apache-2.0
#pragma once

// A kernel of which a test decides what it says of tasks, notifications and sockets. Files are the real ones.

#include <fcntl.h>
#include <sys/eventfd.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "supervisor/handler.h"

namespace wrapd::supervisor {

class FakeKernel : public kernel::Kernel, public kernel::TrapSource {
 public:
  // What a test sets.
  std::function<bool(uint64_t)> is_valid = [](uint64_t) { return true; };
  int task = 0;  // open_task(): an error, or 0
  bool thread_exact = true;
  kernel::TaskCredentials own{.uids = {1, 1000, 1, 1000}, .gids = {1, 1000, 1, 1000}};  // the session's
  kernel::TaskCredentials credentials{
      .uids = {1000, 1000, 1000, 1000}, .gids = {1000, 1000, 1000, 1000}, .no_new_privs = true};  // the tasks'
  int gone = 0;  // task_comm(): an error, or 0
  std::string comm = "comm", exe = "/exe";
  bool same_root = true, same_user_namespace = true;
  std::optional<Error> cannot_act;         // act_as()
  int taken = 0;                           // take_descriptor(): an error, or 0
  ssize_t read_error = 0;                  // read_memory(): an error, or 0
  std::map<uint64_t, std::string> memory;  // address -> bytes
  int domain = AF_UNIX;
  int option_error = 0;
  sockaddr_storage bound{};
  socklen_t bound_length = sizeof(sa_family_t);
  uint64_t cookie = 1;
  bool is_non_blocking = false;
  std::string cwd = "/";
  std::string descriptor_name;
  kernel::TaskStatus status{.state = 'D', .tgid = 100, .umask = 022, .threads = 1};
  std::map<pid_t, kernel::TaskStatus> others;            // threads that have a status of their own
  std::function<int()> on_operation = [] { return 0; };  // connect, bind, listen, rename, link

  std::function<void(const char*)> on_open = [](const char*) {};  // open_at(), before it is done

  // What the handlers did.
  std::map<std::string, int> opened;  // how often a path was
  std::vector<std::string> done;
  std::map<pid_t, kernel::Credentials> acted_as;  // what threads took
  int looks = 0;                                  // tasks that were opened
  int credential_reads = 0;
  std::mutex lock;
  std::deque<Notification> queue;
  struct Answered {
    uint64_t id;
    int error;
    int64_t value;
    bool natively;
    bool descriptor;
  };
  int answer_error = 0;  // answer(): an error, or 0
  std::vector<Answered> answers;
  std::function<void()> on_receive = [] {};
  std::function<void()> on_respond = [] {};

  FakeKernel() : Kernel(UniqueFd(::open("/proc", O_PATH | O_CLOEXEC))) {}

  [[nodiscard]] int descriptor() const override { return -1; }
  int receive(Notification& call) override {
    std::lock_guard guard(lock);
    if (queue.empty()) return -ENOENT;
    call = queue.front();
    queue.pop_front();
    on_receive();
    return 0;
  }
  int answer(uint64_t id, const Answer& answer) override {
    {
      std::lock_guard guard(lock);
      answers.push_back({.id = id,
                         .error = answer.error,
                         .value = answer.value,
                         .natively = answer.run_natively,
                         .descriptor = answer.descriptor.get() >= 0});
    }
    on_respond();
    return answer_error;
  }
  bool valid(uint64_t id) override { return is_valid(id); }
  int open_task(pid_t, kernel::Task& out) override {
    if (task < 0) return task;
    ++looks;
    out.thread_exact = thread_exact;
    out.pidfd.reset(some_fd());
    return 0;
  }
  int task_comm(const kernel::Task&, std::string& out) override {
    out = comm;
    return gone;
  }
  int task_credentials(pid_t, kernel::TaskCredentials& out) override {
    ++credential_reads;
    out = credentials;
    return 0;
  }
  bool in_our_user_namespace(pid_t) override { return same_user_namespace; }
  bool has_root(pid_t, int) override { return same_root; }
  int own_credentials(kernel::TaskCredentials& out) override {
    out = own;
    return 0;
  }
  Result<> act_as(const kernel::Credentials& as) override {
    std::lock_guard guard(lock);
    acted_as.emplace(::gettid(), as);
    if (cannot_act) return std::unexpected(*cannot_act);
    return {};
  }
  int kill_task(int) override { return operation("kill"); }
  int take_descriptor(int, int) override { return taken < 0 ? taken : some_fd(); }
  ssize_t read_memory(pid_t, uint64_t address, std::span<std::byte> buffer) override {
    if (read_error < 0) return read_error;
    auto at = memory.upper_bound(address);
    if (at == memory.begin()) return -EFAULT;
    --at;
    if (address >= at->first + at->second.size()) return -EFAULT;
    size_t n = std::min(buffer.size(), static_cast<size_t>(at->first + at->second.size() - address));
    std::memcpy(buffer.data(), at->second.data() + (address - at->first), n);
    return static_cast<ssize_t>(n);
  }
  int take_descriptor_and_read(int pidfd, int fd, pid_t tid, uint64_t address, std::span<std::byte> buffer,
                               ssize_t& read, std::string& program) override {
    const int descriptor = take_descriptor(pidfd, fd);
    if (descriptor < 0) return descriptor;
    read = buffer.empty() ? 0 : read_memory(tid, address, buffer);
    program = task_exe(tid);
    return descriptor;
  }
  int open_task_link(pid_t tid, const char* link) override {
    if (std::string_view(link) == "cwd") return fd_or_errno(::open(cwd.c_str(), O_PATH | O_CLOEXEC));
    return Kernel::open_task_link(tid, link);
  }
  Result<std::string> task_descriptor_name(pid_t, int) override { return descriptor_name; }
  int task_status(pid_t tid, kernel::TaskStatus& out) override {
    auto other = others.find(tid);
    out = other == others.end() ? status : other->second;
    return 0;
  }
  int threads(pid_t tgid, std::span<pid_t> room) override {
    size_t count = 0;
    if (!room.empty()) room[count++] = tgid;
    for (const auto& [tid, other] : others) {
      if (tid == tgid) continue;
      if (count == room.size()) return -E2BIG;
      room[count++] = tid;
    }
    return static_cast<int>(count);
  }
  std::string task_exe(pid_t) override { return exe; }
  int open_at(int directory, const char* path, uint64_t flags, uint64_t resolve) override {
    {
      std::lock_guard guard(lock);
      ++opened[path];
    }
    on_open(path);
    return Kernel::open_at(directory, path, flags, resolve);
  }
  int socket_option(int, int option, void* value, socklen_t) override {
    if (option_error < 0) return option_error;
    if (option == SO_COOKIE) {
      std::memcpy(value, &cookie, sizeof cookie);
    } else {
      std::memcpy(value, &domain, sizeof domain);
    }
    return 0;
  }
  int socket_name(int, sockaddr_storage& name, socklen_t& length) override {
    name = bound;
    length = bound_length;
    return 0;
  }
  bool non_blocking(int) override { return is_non_blocking; }
  int connect(int, const sockaddr*, socklen_t) override { return operation("connect"); }
  int connect_object(int, int) override { return operation("connect_object"); }
  int bind(int, const sockaddr*, socklen_t) override { return operation("bind"); }
  int bind_path(const kernel::BindRequest& request) override {
    last_umask = request.umask;
    return operation("bind_path");
  }
  bool has_bound_socket(int) override { return bound_there; }
  bool is_abandoned_socket(int) override { return !bound_there; }
  int listen(int, int) override { return operation("listen"); }
  int rename(int, const char*, int, const char*, unsigned) override { return operation("rename"); }
  int link(int, const char*, int, const char*) override { return operation("link"); }
  int symlink(const char*, int, const char*) override { return operation("symlink"); }

  mode_t last_umask = 0;
  bool bound_there = true;

 private:
  static int fd_or_errno(int fd) { return fd < 0 ? -errno : fd; }
  static int some_fd() { return fd_or_errno(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
  int operation(const char* what) {
    {
      std::lock_guard guard(lock);
      done.emplace_back(what);
    }
    return on_operation();
  }
};

}  // namespace wrapd::supervisor
