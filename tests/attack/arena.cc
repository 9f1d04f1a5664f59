// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "kernel/uapi.h"
#include "wire/packet.h"

namespace wrapd::attack {
namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::abort();
}

socklen_t fill(sockaddr_un& address, const std::string& name) {
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] != '@') return sizeof address;
  address.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
}

class OurHandlers final : public supervisor::Handler {
 public:
  explicit OurHandlers(const supervisor::SessionObjects& session) : sockets_(session), names_(session) {}
  supervisor::Outcome handle(const supervisor::Notification& call, supervisor::CallContext& context) override {
    switch (call.number) {
      case SYS_connect:
      case SYS_bind:
      case SYS_listen:
      case SYS_socket:
      case SYS_socketpair: return sockets_.handle(call, context);
      default: return names_.handle(call, context);
    }
  }

 private:
  supervisor::UnixSocketHandler sockets_;
  supervisor::NameHandler names_;
};

}  // namespace

Place::Place() {
  std::string name = "/tmp/wrapd-attack-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) die("mkdtemp");
  path_ = name;
  if (::chown(path_.c_str(), kAttacker, kAttacker) < 0 || ::chmod(path_.c_str(), 0755) < 0) die("chown");
}

Place::~Place() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Server::Server(const std::string& name)
    : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address;
  socklen_t length = fill(address, name);
  if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) < 0) die("bind");
  if (name[0] != '@' && ::lchown(name.c_str(), kAttacker, kAttacker) < 0) die("lchown");
  if (::listen(listener_.get(), 4096) < 0) die("listen");
  thread_ = std::thread([this] {
    while (!stop_) {
      struct pollfd p {.fd = listener_.get(), .events = POLLIN, .revents = 0};
      ::poll(&p, 1, 20);
      for (;;) {
        UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!peer) break;
        ++reached_;
      }
    }
  });
}

void Server::settle() {
  for (;;) {
    struct pollfd p {.fd = listener_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&p, 1, 0) == 0) return;
    std::this_thread::yield();
  }
}

Server::~Server() {
  stop_ = true;
  thread_.join();
}

std::vector<std::byte> compile(const std::vector<Rule>& rules) {
  policy::Policy policy;
  policy.name = "arena";
  policy.unix_socket_rules.emplace();
  int number = 0;
  for (const Rule& rule : rules) {
    policy.unix_socket_rules->push_back({.name = "rule" + std::to_string(number++),
                                         .paths = rule.paths,
                                         .operations = 7,
                                         .decision = rule.decision,
                                         .guidance = {},
                                         .line = 1});
  }
  auto block = policy::compile_rules(policy, {});
  if (!block) {
    std::fprintf(stderr, "%s\n", block.error().message.c_str());
    std::abort();
  }
  return std::move(*block);
}

MakeHandler ours() {
  return [](const supervisor::SessionObjects& session, kernel::Kernel&) { return std::make_unique<OurHandlers>(session); };
}

Result fight(const std::vector<Rule>& rules, const MakeHandler& make_handler, const std::function<int()>& attacker,
             plan::FilterSpec spec) {
  auto filter = plan::compile_filter(spec);
  if (!filter) die("filter");
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) die("socketpair");
  UniqueFd mine(sockets[0]), theirs(sockets[1]);

  pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    if (::setgroups(0, nullptr) < 0 || ::setresgid(kAttacker, kAttacker, kAttacker) < 0 ||
        ::setresuid(kAttacker, kAttacker, kAttacker) < 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
      ::_exit(99);
    }
    sock_fprog program{.len = static_cast<unsigned short>(filter->size()), .filter = filter->data()};
    long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                              SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (listener < 0) ::_exit(98);
    int fd = static_cast<int>(listener);
    if (!wire::send_packet(theirs.get(), "l", {&fd, 1}, false)) ::_exit(97);
    ::close(fd);
    char go;
    if (::recv(theirs.get(), &go, 1, 0) != 1) ::_exit(96);
    ::_exit(attacker());
  }
  theirs.reset();
  struct pollfd p {.fd = mine.get(), .events = POLLIN, .revents = 0};
  (void)::poll(&p, 1, 10000);
  auto packet = wire::receive_packet(mine.get(), 16, 1);
  if (!packet || packet->fds.size() != 1) die("no listener came");

  auto block = compile(rules);
  auto set = policy::RuleSet::open(block);
  if (!set) die("rules");
  policy::Layers layers;
  layers.add(*set);
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC)), before(::open(".", O_PATH | O_CLOEXEC));
  if (::chdir("/proc/self/fd") < 0) die("chdir");
  kernel::RealKernel kernel(std::move(packet->fds[0]), UniqueFd(::open("/proc", O_PATH | O_CLOEXEC)),
                            kernel::Privilege::own);
  (void)kernel.request_sync_wake_up();
  supervisor::Identities identities(kernel, root.get(), layers);
  supervisor::SessionObjects objects{.kernel = kernel, .layers = layers, .root = root.get(), .identities = identities};
  auto handler = make_handler(objects, kernel);
  supervisor::Loop::install_interrupt_handler();
  Result result;
  {
    supervisor::Loop loop(kernel, kernel.listener(), [&](int) { return handler.get(); });
    if (!loop.start()) die("thread");
    if (::send(mine.get(), "g", 1, MSG_NOSIGNAL) != 1) die("send");
    while (!loop.hung_up()) {
      struct pollfd polls[2] = {{.fd = loop.wake_fd(), .events = POLLIN, .revents = 0},
                                {.fd = kernel.listener(), .events = 0, .revents = 0}};
      ::poll(polls, 2, loop.active() ? 5 : -1);
      if ((polls[1].revents & POLLHUP) != 0) loop.set_hung_up();
      loop.tick(supervisor::Loop::Clock::now());
      uint64_t lost = 0;
      for (const auto& timed : loop.take_records(lost)) ++(timed.record.done ? result.decided : result.denied);
      result.decided += lost;
    }
  }
  if (::waitpid(child, &result.exit_status, 0) != child) die("waitpid");
  if (::fchdir(before.get()) < 0) die("fchdir");
  return result;
}

uint64_t tries(uint64_t standard) {
  const char* value = std::getenv("WRAPD_RACE_TRIES");
  return value != nullptr ? std::strtoull(value, nullptr, 10) : standard;
}

}  // namespace wrapd::attack
