// SPDX-License-Identifier: Apache-2.0
#include "kernel/process_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <memory>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/credentials.h"
#include "base/io.h"
#include "base/unique_fd.h"

namespace wrapd::kernel {
namespace {

constexpr size_t kMaxStatus = 16384;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// The fields behind the name, which is the program's own choice: they are counted from the last ')'.
class StatFields {
 public:
  explicit StatFields(std::string_view text) {
    size_t end = text.rfind(')');
    rest_ = end == std::string_view::npos || end + 2 > text.size() ? std::string_view() : text.substr(end + 2);
  }
  [[nodiscard]] std::string_view next() {
    size_t space = rest_.find(' ');
    std::string_view field = rest_.substr(0, space);
    rest_.remove_prefix(space == std::string_view::npos ? rest_.size() : space + 1);
    return field;
  }
  void skip(int fields) {
    for (int i = 0; i < fields; ++i) static_cast<void>(next());
  }
  template <class Number>
  [[nodiscard]] bool number(Number& value) {
    std::string_view field = next();
    auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    return error == std::errc() && end == field.data() + field.size();
  }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<Process> read_process(int proc, pid_t pid) {
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "%d/stat", pid);
  UniqueFd fd(::openat(proc, name.data(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::array<char, 1024> buffer;
  ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n <= 0) return std::nullopt;
  Process process;
  process.pid = pid;
  StatFields fields({buffer.data(), static_cast<size_t>(n)});
  std::string_view state = fields.next();  // field 3
  if (state.size() != 1) return std::nullopt;
  process.state = state.front();
  if (!fields.number(process.parent)) return std::nullopt;
  fields.skip(15);  // 5 to 19
  if (!fields.number(process.threads)) return std::nullopt;
  fields.skip(1);
  if (!fields.number(process.start)) return std::nullopt;
  std::snprintf(name.data(), name.size(), "%d", pid);
  struct stat st {};
  // The directory's owner is the effective uid, also where a process is not dumpable (task_dump_owner()).
  if (::fstatat(proc, name.data(), &st, AT_SYMLINK_NOFOLLOW) < 0) return std::nullopt;
  process.uid = st.st_uid;
  return process;
}

void for_each_process(int proc, const std::function<void(const Process&)>& visit) {
  int fd = ::openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd));
  if (!directory) {
    ::close(fd);
    return;
  }
  while (const dirent* entry = ::readdir(directory.get())) {
    std::string_view name = entry->d_name;
    pid_t pid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    if (auto process = read_process(proc, pid)) visit(*process);
  }
}

std::vector<Process> list_processes(int proc) {
  std::vector<Process> found;
  for_each_process(proc, [&](const Process& process) { found.push_back(process); });
  return found;
}

std::vector<Process> descendants(std::span<const Process> all, std::span<const pid_t> ancestors) {
  std::unordered_multimap<pid_t, const Process*> children;
  for (const Process& process : all) children.emplace(process.parent, &process);
  std::vector<pid_t> queue(ancestors.begin(), ancestors.end());
  std::set<pid_t> met;
  std::vector<Process> found;
  for (size_t i = 0; i < queue.size(); ++i) {
    auto [first, last] = children.equal_range(queue[i]);
    for (auto it = first; it != last; ++it) {
      // A listing is no snapshot: what it says of parents may even be a circle.
      if (!met.insert(it->second->pid).second) continue;
      queue.push_back(it->second->pid);
      if (!it->second->exited()) found.push_back(*it->second);
    }
  }
  return found;
}

std::optional<int64_t> number_in(int proc, const char* file, std::string_view key) {
  UniqueFd fd(::openat(proc, file, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  auto text = read_all(fd.get(), kMaxStatus);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    while (line.starts_with('\t') || line.starts_with(' ')) line.remove_prefix(1);
    int64_t value = 0;
    auto [at, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || at != line.data() + line.size()) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

std::optional<int64_t> seccomp_filters(int proc, pid_t pid) {
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "%d/status", pid);
  return number_in(proc, name.data(), "Seccomp_filters:");
}

bool signal_process(int proc, const Process& process, int signal) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd) return false;
  // The process that has the number now is the one behind the pidfd, unless that was reaped in between.
  auto now = read_process(proc, process.pid);
  if (!now || !now->is(process)) return false;
  return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

uint64_t ticks_since_boot() {
  constexpr uint64_t kNanoseconds = 1'000'000'000;
  static const uint64_t kTick = kNanoseconds / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  struct timespec time {};
  // Cannot fail: every kernel has the clock.
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return (static_cast<uint64_t>(time.tv_sec) * kNanoseconds + static_cast<uint64_t>(time.tv_nsec)) / kTick;
}

Result<UniqueFd> open_process(int proc, pid_t pid, uint64_t latest_start) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno("cannot open the process");
  auto process = read_process(proc, pid);
  if (!process) return fail("the process cannot be looked at", EACCES);
  // Alive until now: what was read is of the process behind the pidfd.
  if (!pidfd_alive(pidfd.get())) return fail("the process has gone", ESRCH);
  if (process->start > latest_start) return fail("the process has gone, and its number is another's", EPERM);
  return pidfd;
}

std::vector<Process> stop_until_quiet(int quiet, std::chrono::steady_clock::time_point deadline,
                                      const std::function<StoppingLook()>& look) {
  std::set<std::pair<pid_t, uint64_t>> stopped;
  for (int nothing_new = 0;;) {
    StoppingLook now = look();
    bool found_new = now.more;
    for (const Process& process : now.found) found_new |= stopped.emplace(process.pid, process.start).second;
    nothing_new = found_new ? 0 : nothing_new + 1;
    if (nothing_new >= quiet || std::chrono::steady_clock::now() >= deadline) return now.found;
  }
}

}  // namespace wrapd::kernel
