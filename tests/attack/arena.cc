// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
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

#include "kernel/seccomp_source.h"
#include "kernel/uapi.h"
#include "supervisor/dispatch.h"
#include "supervisor/identity.h"
#include "tests/lib/patterns.h"
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
  explicit OurHandlers(const supervisor::SessionObjects& session) : dispatch_(session) {}
  supervisor::Outcome handle(const supervisor::Caller& call, supervisor::CallContext& context) override {
    supervisor::Handler* handler = dispatch_.handler_of(call.number);
    if (handler == nullptr) return {.answer = supervisor::Answer::errno_of(ENOSYS), .record = std::nullopt};
    return handler->handle(call, context);
  }

 private:
  supervisor::Dispatch dispatch_;
};

// The real one, or one for which every task is what the session is.
class ArenaKernel final : public kernel::Kernel {
 public:
  ArenaKernel(UniqueFd proc, bool gullible) : Kernel(std::move(proc)), gullible_(gullible) {}
  int task_credentials(pid_t tid, kernel::TaskCredentials& credentials) override {
    return Kernel::task_credentials(gullible_ ? ::gettid() : tid, credentials);
  }
  bool in_our_user_namespace(pid_t tid) override { return gullible_ || Kernel::in_our_user_namespace(tid); }
  bool has_root(pid_t tid, int root) override { return gullible_ || Kernel::has_root(tid, root); }

 private:
  const bool gullible_;
};

// Answers until the last task of the tree is gone.
Result supervise(const Terms& terms, const std::vector<Rule>& rules, const MakeHandler& make_handler, UniqueFd listener,
                 int child, pid_t caller) {
  auto block = compile(rules);
  auto set = policy::RuleSet::open(block);
  if (!set) die("rules");
  policy::Layers layers;
  layers.add(*set);
  UniqueFd proc(::open("/proc", O_PATH | O_CLOEXEC));
  UniqueFd own_descriptors(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string of_caller = "/proc/" + std::to_string(caller) + "/root";
  UniqueFd root(::open(terms.supervisor_keeps_root ? "/" : of_caller.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (auto entered = supervisor::enter_root(root.get(), own_descriptors.get()); !entered) die("root");
  if (!terms.supervisor_stays_root) {
    auto assumed = supervisor::assume(
        {.own_uid = kSupervisor, .own_gid = kSupervisor, .uid = terms.session, .gid = terms.session, .groups = {}});
    if (!assumed) {
      std::fprintf(stderr, "%s\n", assumed.error().message.c_str());
      std::abort();
    }
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) die("no_new_privs");
  bool applies = false;
  if (!supervisor::confine_self(terms.supervisor_stays_root ? 0 : terms.session, applies)) die("filter");
  kernel::SeccompSource source(std::move(listener));
  ArenaKernel kernel(std::move(proc), terms.believes_everybody || terms.supervisor_keeps_root);
  supervisor::Identities identities(kernel, root.get(), layers);
  supervisor::Approvals approvals(layers.approval());
  approvals.close("nobody answers in the arena");
  supervisor::SessionObjects objects{
      .kernel = kernel, .layers = layers, .root = root.get(), .identities = identities, .approvals = approvals};
  auto handler = make_handler(objects, kernel);
  supervisor::Loop::install_interrupt_handler();
  Result result;
  auto collect = [&](supervisor::Loop& loop) {
    uint64_t lost = 0;
    for (const auto& timed : loop.take_records(lost)) ++(timed.record.done ? result.decided : result.denied);
    result.decided += lost;
  };
  supervisor::Callers callers(kernel, source, root.get());
  supervisor::Loop loop(
      source, kernel, [&](int) { return handler.get(); }, callers, approvals);
  if (!loop.start()) die("thread");
  if (::send(child, "g", 1, MSG_NOSIGNAL) != 1) die("send");
  while (!loop.hung_up()) {
    struct pollfd polls[2] = {{.fd = loop.wake_fd(), .events = POLLIN, .revents = 0},
                              {.fd = source.descriptor(), .events = 0, .revents = 0}};
    auto patience = loop.patience(supervisor::Loop::Clock::now());
    ::poll(polls, 2, patience ? static_cast<int>(patience->count()) : -1);
    if ((polls[1].revents & POLLHUP) != 0) loop.set_hung_up();
    loop.tick(supervisor::Loop::Clock::now());
    collect(loop);
  }
  while (!loop.settled()) std::this_thread::yield();
  collect(loop);
  return result;
}

}  // namespace

Place::Place() : test::TemporaryDirectory("/tmp", 0755) {
  if (::chown(path().c_str(), kAttacker, kAttacker) < 0) die("chown");
}

Server::Server(const std::string& name) : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address;
  socklen_t length = fill(address, name);
  if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) < 0) die("bind");
  if (name[0] != '@' && ::lchown(name.c_str(), kAttacker, kAttacker) < 0) die("lchown");
  if (::listen(listener_.get(), 4096) < 0) die("listen");
  thread_ = std::thread([this] {
    for (; !stop_; ++passes_) {
      struct pollfd p {
        .fd = listener_.get(), .events = POLLIN, .revents = 0
      };
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
  // A pass that began after now has counted whatever waits now.
  for (uint64_t seen = passes_; passes_ < seen + 2;) std::this_thread::yield();
}

Server::~Server() {
  stop_ = true;
  thread_.join();
}

std::vector<std::byte> compile(const std::vector<Rule>& rules) {
  policy::Policy policy;
  policy.name = "arena";
  auto& listed = policy.of(policy::Class::unix_socket).rules.emplace();
  int number = 0;
  for (const Rule& rule : rules) {
    listed.push_back({.name = "rule" + std::to_string(number++),
                      .patterns = policy::patterns(rule.paths),
                      .operations = rule.operations,
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
  return
      [](const supervisor::SessionObjects& session, kernel::Kernel&) { return std::make_unique<OurHandlers>(session); };
}

std::vector<sock_filter> brings_by_number(std::initializer_list<uint32_t> numbers) {
  std::vector<sock_filter> code{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (uint32_t number : numbers) {
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return code;
}

Result fight(const std::vector<Rule>& rules, const MakeHandler& make_handler, const std::function<int()>& attacker,
             plan::TrapSet traps) {
  return fight_on({.traps = traps}, rules, make_handler, attacker);
}

Result fight_on(const Terms& terms, const std::vector<Rule>& rules, const MakeHandler& make_handler,
                const std::function<int()>& attacker) {
  auto filter = terms.filter.empty() ? plan::compile_filter(terms.traps) : terms.filter;
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) die("socketpair");
  UniqueFd mine(sockets[0]), theirs(sockets[1]);

  pid_t child = ::fork();
  if (child < 0) die("fork");
  if (child == 0) {
    if (terms.furnish) terms.furnish();
    const uid_t uid = terms.attacker;
    if (::setgroups(0, nullptr) < 0 || ::setresgid(uid, uid, uid) < 0 || ::setresuid(uid, uid, uid) < 0 ||
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
      ::_exit(99);
    }
    sock_fprog program{.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
    long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                              SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (listener < 0) ::_exit(98);
    int fd = static_cast<int>(listener);
    if (!wire::send_packet(theirs.get(), "l", {&fd, 1}, false)) ::_exit(97);
    if (terms.leaked_listener >= 0 && ::dup2(fd, terms.leaked_listener) < 0) ::_exit(95);
    ::close(fd);
    char go;
    if (::recv(theirs.get(), &go, 1, 0) != 1) ::_exit(96);
    ::_exit(attacker());
  }
  theirs.reset();
  struct pollfd p {
    .fd = mine.get(), .events = POLLIN, .revents = 0
  };
  (void)::poll(&p, 1, 10000);
  auto packet = wire::receive_packet(mine.get(), 16, 1);
  if (!packet || packet->fds.size() != 1) die("no listener came");

  // The supervisor is a process of its own, with the ids and the capability that the service's have, and their filter.
  auto* shared =
      static_cast<Result*>(::mmap(nullptr, sizeof(Result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (shared == MAP_FAILED) die("mmap");
  *shared = {};
  pid_t supervisor = ::fork();
  if (supervisor < 0) die("fork");
  if (supervisor == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    *shared = supervise(terms, rules, make_handler, std::move(packet->fds[0]), mine.get(), child);
    ::_exit(0);
  }
  if (!terms.parent_keeps_listener) packet->fds.clear();
  mine.reset();
  int status = -1;
  if (::waitpid(supervisor, &status, 0) != supervisor) die("waitpid");
  if (status != 0) std::fprintf(stderr, "the supervisor ended with status %#x\n", status);
  Result result = *shared;
  ::munmap(shared, sizeof(Result));
  if (!packet->fds.empty()) {
    p = {.fd = packet->fds[0].get(), .events = POLLIN, .revents = 0};
    result.left_waiting = ::poll(&p, 1, 10000) == 1 && (p.revents & POLLIN) != 0;
    packet->fds.clear();
  }
  if (::waitpid(child, &result.exit_status, 0) != child) die("waitpid");
  if (status != 0) result.exit_status = -1;
  return result;
}

uint64_t tries(uint64_t standard) {
  const char* value = std::getenv("WRAPD_RACE_TRIES");
  return value != nullptr ? std::strtoull(value, nullptr, 10) : standard;
}

}  // namespace wrapd::attack
