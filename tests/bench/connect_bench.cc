// SPDX-License-Identifier: Apache-2.0

// What a mediated connect(2) costs beside its floor. The floor is the least that a supervisor can do which acts on what
// it judged: receive, pin the thread, take its socket, copy the address, open the object, check that the call still
// waits, connect, answer; one thread, no policy, no record, capability raised once for all. Ours is the real session
// code with the credentials of a brokered supervisor. Both run in turn; ratios of the same run are what counts.

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/io.h"
#include "kernel/kernel.h"
#include "kernel/uapi.h"
#include "plan/plan.h"
#include "policy/rules.h"
#include "supervisor/identity.h"
#include "supervisor/session/session.h"
#include "tests/lib/patterns.h"
#include "tests/lib/temporary_directory.h"
#include "wire/packet.h"

namespace {

using namespace wrapd;

constexpr uid_t kUser = 64017, kOwn = 64018;
constexpr int kWarmUp = 500;
constexpr int kCounted = 2000;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

sockaddr_un address_of(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  return address;
}

double connects(const sockaddr_un& address, int count) {
  auto once = [&] {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) die("connect");
    ::close(fd);
  };
  for (int i = 0; i < kWarmUp; ++i) once();
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) once();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / count;
}

void become_user() {
  if (::setgroups(0, nullptr) < 0 || ::setresgid(kUser, kUser, kUser) < 0 || ::setresuid(kUser, kUser, kUser) < 0 ||
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    die("become_user");
  }
}

void become_supervisor() {
  if (auto rc = supervisor::assume({kOwn, kOwn, kUser, kUser, {}}); !rc) {
    std::fprintf(stderr, "%s\n", rc.error().message.c_str());
    std::exit(1);
  }
}

// Answers everything with the least work.
void floor_supervisor(int listener, int) {
  become_supervisor();
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2]{};
  data[0].permitted = data[0].effective = 1U << CAP_SYS_PTRACE;
  if (::syscall(SYS_capset, &header, data) < 0) die("capset");
  ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
  int root = ::open("/", O_PATH | O_CLOEXEC);
  for (;;) {
    struct pollfd p {
      .fd = listener, .events = POLLIN, .revents = 0
    };
    ::poll(&p, 1, -1);
    if ((p.revents & POLLIN) == 0) return;
    seccomp_notif n{};
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0) continue;
    auto task = static_cast<int>(::syscall(SYS_pidfd_open, n.pid, PIDFD_THREAD));
    auto socket = static_cast<int>(::syscall(SYS_pidfd_getfd, task, n.data.args[0], 0));
    sockaddr_un address{};
    iovec local{.iov_base = &address, .iov_len = 110};
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process
    iovec remote{.iov_base = reinterpret_cast<void*>(n.data.args[1]), .iov_len = 110};
    seccomp_notif_resp response{.id = n.id, .val = 0, .error = -EACCES, .flags = 0};
    if (::process_vm_readv(static_cast<pid_t>(n.pid), &local, 1, &remote, 1, 0) == 110) {
      open_how how{};
      how.flags = O_PATH | O_CLOEXEC;
      how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
      auto object = static_cast<int>(::syscall(SYS_openat2, root, address.sun_path, &how, sizeof how));
      sockaddr_un target{};
      target.sun_family = AF_UNIX;
      std::snprintf(target.sun_path, sizeof target.sun_path, "/proc/self/fd/%d", object);
      if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id) == 0 &&
          ::connect(socket, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0) {
        response.error = 0;
      }
      ::close(object);
    }
    ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    ::close(socket);
    ::close(task);
  }
}

std::vector<std::byte> rules(int extra, const std::string& allowed) {
  policy::Policy policy;
  policy.name = "bench";
  auto& listed = policy.of(policy::Class::unix_socket).rules.emplace();
  for (int i = 0; i < extra; ++i) {
    listed.push_back({.name = "r" + std::to_string(i),
                      .patterns = policy::patterns({"/srv/" + std::to_string(i) + "/*.sock"}),
                      .operations = 7,
                      .decision = policy::Verdict::allow,
                      .guidance = {},
                      .line = 1});
  }
  listed.push_back({.name = "bench",
                    .patterns = policy::patterns({allowed}),
                    .operations = 7,
                    .decision = policy::Verdict::allow,
                    .guidance = {},
                    .line = 1});
  auto block = policy::compile_rules(policy, {});
  if (!block) die("rules");
  return std::move(*block);
}

void our_supervisor(int listener, int leader, const std::string& allowed, int rule_count) {
  auto memfd = sealed_memfd("rules", rules(rule_count, allowed));
  if (!memfd) die("memfd");
  auto mapping = SealedMapping::map(memfd->get(), policy::kMaxRulesBytes);
  if (!mapping) die("map");
  if (::chdir("/proc/self/fd") < 0) die("chdir");
  become_supervisor();
  supervisor::SessionOptions options{.id = "bench", .uid = kUser};
  options.rules.push_back(std::move(*mapping));
  options.listener.reset(listener);
  options.leader.reset(leader);
  options.proc.reset(::open("/proc", O_PATH | O_CLOEXEC));
  options.root.reset(::open("/", O_PATH | O_CLOEXEC));
  options.acknowledge = [] { return Result<>{}; };
  // Records are made and rendered, and written where writing costs little.
  options.sink = std::make_unique<audit::JsonLinesSink>(UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)));
  if (!supervisor::run_session(std::move(options))) die("session");
}

struct Measured {
  double microseconds = 0;  // per connect, as the child sees it
  double processor = 0;     // microseconds of the supervisor's own time per connect
  double calls = 0;         // system calls of the threads that answer, per connect; where they were counted
};

// Runs the process that was forked before to its end and counts the system calls of the threads that answer: all, or
// all but the first, which only watches.
double count_calls(pid_t process) {
  std::map<pid_t, uint64_t> stops;
  for (;;) {
    int status = 0;
    pid_t tid = ::waitpid(-1, &status, __WALL);
    if (tid < 0) die("waitpid");
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (tid == process) break;
      continue;
    }
    if (!WIFSTOPPED(status)) continue;
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) ++stops[tid];
    // A new thread begins with a stop of its own.
    const bool ours = signal == (SIGTRAP | 0x80) || status >> 16 != 0 || signal == SIGSTOP;
    ::ptrace(PTRACE_SYSCALL, tid, nullptr, ours ? 0 : signal);
  }
  uint64_t sum = 0;
  for (const auto& [tid, count] : stops) {
    if (stops.size() == 1 || tid != process) sum += count;
  }
  return static_cast<double>(sum) / 2;
}

// A child under the filter connects, answered by `serve` in a process of its own.
template <class Serve>
Measured measure(const std::string& path, int count, Serve serve, bool counted = false) {
  auto filter = plan::compile_filter(plan::kUnixSocketTraps);
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) die("socketpair");
  auto* shared =
      static_cast<double*>(::mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t child = ::fork();
  if (child == 0) {
    become_user();
    sock_fprog program{.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
    int fd = static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                                        &program));
    if (fd < 0 || !wire::send_packet(pair[1], "l", {&fd, 1}, false)) ::_exit(1);
    ::close(fd);
    *shared = connects(address_of(path), count);
    ::_exit(0);
  }
  struct pollfd p {
    .fd = pair[0], .events = POLLIN, .revents = 0
  };
  ::poll(&p, 1, 10000);
  auto packet = wire::receive_packet(pair[0], 16, 1);
  if (!packet || packet->fds.empty()) die("listener");
  pid_t server = ::fork();
  if (server == 0) {
    if (counted) ::raise(SIGSTOP);
    serve(packet->fds[0].release(), static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    ::_exit(0);
  }
  packet->fds.clear();
  ::close(pair[0]);
  ::close(pair[1]);
  const int all = count + kWarmUp;
  Measured result;
  rusage usage{};
  if (counted) {
    if (::ptrace(PTRACE_SEIZE, server, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) < 0) {
      die("ptrace");
    }
    ::kill(server, SIGCONT);
    result.calls = count_calls(server) / all;
  } else if (::wait4(server, nullptr, 0, &usage) < 0) {
    die("wait4");
  }
  ::waitpid(child, nullptr, 0);
  auto microseconds = [](const timeval& time) {
    return 1e6 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec);
  };
  result.processor = (microseconds(usage.ru_utime) + microseconds(usage.ru_stime)) / all;
  result.microseconds = *shared;
  ::munmap(shared, sizeof(double));
  return result;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double median_of(const std::vector<Measured>& all, double Measured::*member) {
  std::vector<double> values;
  for (const Measured& one : all) values.push_back(one.*member);
  return median(std::move(values));
}

}  // namespace

int main(int argc, char** argv) {
  if (::geteuid() != 0) {
    std::puts("needs root, for the credentials of a supervisor");
    return 77;
  }
  int count = argc > 1 ? std::atoi(argv[1]) : 10000;
  int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  wrapd::test::TemporaryDirectory directory("/tmp", 0755);
  std::string path = directory / "server.sock";
  pid_t server = ::fork();
  if (server == 0) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = address_of(path);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 || ::listen(fd, 4096) < 0) die("server");
    ::chmod(path.c_str(), 0777);
    for (;;) ::close(::accept(fd, nullptr, nullptr));
  }
  while (!std::filesystem::exists(path)) std::this_thread::yield();

  std::vector<double> native;
  std::vector<Measured> floor, ours, few, many;
  auto with_rules = [&](int rule_count) {
    return [&, rule_count](int fd, int leader) { our_supervisor(fd, leader, path, rule_count); };
  };
  for (int i = 0; i < rounds; ++i) {
    native.push_back(connects(address_of(path), count));
    floor.push_back(measure(path, count, floor_supervisor));
    ours.push_back(measure(path, count, with_rules(0)));
    few.push_back(measure(path, count, with_rules(9)));
    many.push_back(measure(path, count, with_rules(9999)));
  }
  const double floor_calls = measure(path, kCounted, floor_supervisor, true).calls;
  const double our_calls = measure(path, kCounted, with_rules(0), true).calls;
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);

  auto wall = [](const std::vector<Measured>& all) { return median_of(all, &Measured::microseconds); };
  auto processor = [](const std::vector<Measured>& all) { return median_of(all, &Measured::processor); };
  std::printf(
      "socket + connect + close, microseconds, median of %d rounds of %d; in brackets the supervisor's own time\n",
      rounds, count);
  std::printf("  native                %7.2f\n", median(native));
  std::printf("  floor supervisor      %7.2f  (%.2f)\n", wall(floor), processor(floor));
  std::printf("  wrapd, 1 rule         %7.2f  (%.2f)\n", wall(ours), processor(ours));
  std::printf("  wrapd, 10 rules       %7.2f  (%.2f)\n", wall(few), processor(few));
  std::printf("  wrapd, 10,000 rules   %7.2f  (%.2f)\n", wall(many), processor(many));
  std::printf("system calls of the supervisor for a connect: floor %.1f, wrapd %.1f\n", floor_calls, our_calls);
  std::printf("ratio wrapd to floor: %.2f (target: at most 1.25); of the supervisors' own time: %.2f\n",
              wall(ours) / wall(floor), processor(ours) / processor(floor));
  std::printf("ratio 10,000 rules to 10: %.2f\n", wall(many) / wall(few));
  return 0;
}
