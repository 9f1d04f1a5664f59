// SPDX-License-Identifier: Apache-2.0

// Ways into the kernel that lead past a filter, and past a supervisor: the same connect(2) under another number,
// without a call, or answered by somebody else. Each reaches the denied socket where the filter knows the numbers only.

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <linux/net.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

#include "arena.h"
#include "kernel/uapi.h"
#include "programs.h"
#include "supervisor/path_walk.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;

const std::vector<sock_filter>& by_number() {
  static const auto filter = brings_by_number({SYS_connect, SYS_bind, SYS_listen});
  return filter;
}

struct Scene {
  Place place;
  Server bad{place / "denied"};
  std::vector<Rule> rules{{{place / "denied"}, Verdict::deny}, {{"/**"}, Verdict::allow}};

  Result run(Story& story, const Terms& terms, const Program& attack, const MakeHandler& handler = ours()) {
    auto result = fight_on(terms, rules, handler, [&] {
      limit_own_life();
      attack(place, story);
      return 0;
    });
    EXPECT_EQ(result.exit_status, 0);
    bad.settle();
    return result;
  }
};

// Not every machine has every way in.
bool works_natively(const Program& attack) {
  Scene scene;
  Server good(scene.place / "allowed");
  Story story;
  EXPECT_EQ(run_natively(scene.place, story, attack), 0);
  return story.of("attack") == "ok";
}

// The attack tells "attack", as the kernel answers it.
void expect_won_and_lost(const Program& attack, const std::string& held, Terms naive = {},
                         const MakeHandler& handler = ours()) {
  Scene scene;
  Terms real = naive;
  naive.filter = by_number();
  Story won, lost;
  scene.run(won, naive, attack, handler);
  EXPECT_EQ(won.of("attack"), "ok") << "the harness does not bite";
  EXPECT_EQ(scene.bad.reached(), 1U) << "the harness does not bite";
  scene.run(lost, real, attack, handler);
  EXPECT_EQ(lost.of("attack"), held);
  EXPECT_EQ(scene.bad.reached(), 1U);
}

#ifdef __x86_64__

// What the calls of 32-bit programs can point to.
struct Low {
  Address address;
  uint32_t arguments[3];
};

Low* low_memory(int fd, const std::string& path) {
  void* memory = ::mmap(nullptr, sizeof(Low), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (memory == MAP_FAILED) ::_exit(1);
  auto* low = new (memory) Low{.address = unix_address(path), .arguments = {}};
  low->arguments[0] = static_cast<uint32_t>(fd);
  low->arguments[1] = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(low->address.get()));
  low->arguments[2] = low->address.length;
  return low;
}

long int80(long number, uint64_t a, uint64_t b, uint64_t c) {
  int result = 0;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b), "d"(c)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) errno = -result;
  return result < 0 ? -1 : result;
}

constexpr long kIa32Socketcall = 102, kIa32Connect = 362, kIa32Getpid = 20;

TEST(Entry, ConnectOf32BitPrograms) {
  if (int80(kIa32Getpid, 0, 0, 0) != ::getpid()) GTEST_SKIP() << "this kernel runs no i386 calls";
  expect_won_and_lost(
      [](const Place& place, Story& story) {
        UniqueFd fd(unix_socket());
        const uint32_t* a = low_memory(fd.get(), place / "denied")->arguments;
        story.tell("attack", outcome(int80(kIa32Connect, a[0], a[1], a[2])));
      },
      "ENOSYS");
}

TEST(Entry, SocketcallOf32BitPrograms) {
  if (int80(kIa32Getpid, 0, 0, 0) != ::getpid()) GTEST_SKIP() << "this kernel runs no i386 calls";
  expect_won_and_lost(
      [](const Place& place, Story& story) {
        UniqueFd fd(unix_socket());
        const uint32_t* a = low_memory(fd.get(), place / "denied")->arguments;
        story.tell("attack", outcome(int80(kIa32Socketcall, SYS_CONNECT, reinterpret_cast<uintptr_t>(a), 0)));
      },
      "ENOSYS");
}

#endif

// One operation of a ring, waited for.
long by_ring(const io_uring_sqe& operation) {
  io_uring_params parameters{};
  UniqueFd ring(static_cast<int>(::syscall(__NR_io_uring_setup, 1, &parameters)));
  if (!ring) return -1;
  auto map = [&](size_t size, off_t offset) {
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.get(), offset);
    if (memory == MAP_FAILED) ::_exit(1);
    return static_cast<char*>(memory);
  };
  const auto& sq = parameters.sq_off;
  const auto& cq = parameters.cq_off;
  char* submitted = map(sq.array + parameters.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
  char* completed = map(cq.cqes + parameters.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
  *reinterpret_cast<io_uring_sqe*>(map(sizeof(io_uring_sqe), IORING_OFF_SQES)) = operation;
  *reinterpret_cast<uint32_t*>(submitted + sq.array) = 0;
  std::atomic_ref(*reinterpret_cast<uint32_t*>(submitted + sq.tail)).store(1, std::memory_order_release);
  if (::syscall(__NR_io_uring_enter, ring.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) != 1) return -1;
  int result = reinterpret_cast<const io_uring_cqe*>(completed + cq.cqes)->res;
  if (result < 0) errno = -result;
  return result < 0 ? -1 : result;
}

TEST(Entry, OperationOfARing) {
  Program attack = [](const Place& place, Story& story) {
    UniqueFd fd(unix_socket());
    Address denied = unix_address(place / "denied");
    io_uring_sqe connect{};
    connect.opcode = IORING_OP_CONNECT;
    connect.fd = fd.get();
    connect.addr = reinterpret_cast<uintptr_t>(denied.get());
    connect.off = denied.length;
    story.tell("attack", outcome(by_ring(connect)));
  };
  if (!works_natively(attack)) GTEST_SKIP() << "this machine has no io_uring for users";
  expect_won_and_lost(attack, "ENOSYS");
}

// A mount namespace of its own, in which the denied socket is mounted on the allowed name. 0 in a task that has one.
long enter_namespaces(const std::string& way) {
  const uint64_t wanted = CLONE_NEWUSER | CLONE_NEWNS;
  if (way == "unshare") return ::syscall(SYS_unshare, wanted);
  if (way == "clone") return ::syscall(SYS_clone, wanted | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  clone_args arguments{};
  arguments.flags = wanted;
  arguments.exit_signal = SIGCHLD;
  return ::syscall(SYS_clone3, &arguments, sizeof arguments);
}

void mount_and_connect(const std::string& way, const Place& place, Story& story) {
  const std::string allowed = place / "allowed";
  long entered = enter_namespaces(way);
  if (entered < 0) {
    story.tell("attack", outcome(entered));
    return;
  }
  if (entered > 0) {
    ::waitpid(static_cast<pid_t>(entered), nullptr, 0);
    return;
  }
  if (::mount((place / "denied").c_str(), allowed.c_str(), nullptr, MS_BIND, nullptr) < 0) ::_exit(1);
  story.tell("attack", connect_to("/proc/self/root" + allowed));
  ::_exit(0);
}

// Takes what the kernel writes for an object for the name that leads to it.
class BelievesTheText final : public supervisor::Handler {
 public:
  explicit BelievesTheText(const supervisor::SessionObjects& session)
      : session_(session), walk_(session.kernel, session.root) {}
  supervisor::Outcome handle(const supervisor::Caller& call, supervisor::CallContext&) override {
    auto refused = [] { return supervisor::Answer::errno_of(EACCES); };
    auto taken = call.take_socket_call();
    if (!taken) return {.answer = refused(), .record = std::nullopt};
    std::string path(supervisor::decode_unix_name(taken->address).text);
    auto object = walk_.locate(call, -1, path, supervisor::LastElement::follow);
    if (!object) return {.answer = refused(), .record = std::nullopt};
    auto text = session_.kernel.real_path(object->fd.get());
    if (!text || !session_.layers.judge(policy::with_path(policy::Operation::connect, *text)).permits())
      return {.answer = refused(), .record = std::nullopt};
    int rc = call.act().connect_object(taken->socket.get(), object->fd.get());
    return {.answer = supervisor::Answer::of(rc), .record = std::nullopt};
  }

 private:
  supervisor::SessionObjects session_;
  supervisor::PathWalk walk_;
};

TEST(Entry, NamespacesOfItsOwn) {
  for (auto [way, held] : {std::pair{"unshare", "EPERM"}, std::pair{"clone", "EPERM"}, std::pair{"clone3", "ENOSYS"}}) {
    Scene scene;
    Server good(scene.place / "allowed");
    scene.rules = {{{scene.place / "allowed"}, Verdict::allow}};
    Program attack = [way = way](const Place& place, Story& story) { mount_and_connect(way, place, story); };
    if (!works_natively(attack)) GTEST_SKIP() << "this machine has no user namespaces for users";
    Story won, nameless, lost;
    const Terms naive{.filter = by_number(), .believes_everybody = true};
    scene.run(won, naive, attack, [](const supervisor::SessionObjects& session, kernel::Kernel&) {
      return std::make_unique<BelievesTheText>(session);
    });
    EXPECT_EQ(won.of("attack"), "ok") << "the harness does not bite";
    EXPECT_EQ(scene.bad.reached(), 1U) << "the harness does not bite";
    // What lies in another mount namespace has no name in the session's.
    scene.run(nameless, naive, attack);
    EXPECT_EQ(nameless.of("attack"), "EACCES");
    EXPECT_EQ(scene.bad.reached(), 1U);
    scene.run(lost, {}, attack);
    EXPECT_EQ(lost.of("attack"), held);
    EXPECT_EQ(scene.bad.reached(), 1U);
    // A task of another user namespace is not acted for, wherever it came from.
    Story refused;
    scene.run(refused, {.filter = by_number()}, attack);
    EXPECT_EQ(refused.of("attack"), "EACCES");
    EXPECT_EQ(scene.bad.reached(), 1U);
  }
}

// Lets whatever it receives go on.
void answer_continue(int listener) {
  for (;;) {
    seccomp_notif call{};
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) return;
    seccomp_notif_resp response{};
    response.id = call.id;
    response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    (void)::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
}

class DiesOfTheFirstCall final : public supervisor::Handler {
 public:
  supervisor::Outcome handle(const supervisor::Caller&, supervisor::CallContext&) override { ::_exit(0); }
};

TEST(Entry, OwnListenerAfterTheSupervisorsDeath) {
  expect_won_and_lost(
      [](const Place& place, Story& story) {
        story.tell("first", connect_to(place / "denied"));
        auto filter = brings_by_number({SYS_connect});
        sock_fprog program{.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
        long listener = -1;
        // The kernel answers our call a moment before it forgets the listener that is gone.
        for (int i = 0; i < 1000 && listener < 0; ++i, ::sched_yield()) {
          listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        }
        if (listener < 0) {
          story.tell("attack", outcome(listener));
          story.tell("afterwards", connect_to(place / "denied"));
          return;
        }
        std::thread(answer_continue, static_cast<int>(listener)).detach();
        story.tell("attack", connect_to(place / "denied"));
      },
      "EBUSY", {},
      [](const supervisor::SessionObjects&, kernel::Kernel&) { return std::make_unique<DiesOfTheFirstCall>(); });
}

// A copy of the listener that stays behind keeps calls waiting that nobody will answer.
TEST(Entry, SupervisorsDeathEndsWhatWaits) {
  for (bool kept : {true, false}) {
    Scene scene;
    Story story;
    auto result = scene.run(
        story, {.parent_keeps_listener = kept},
        [](const Place& place, Story& told) {
          // The supervisor dies of the one that it receives; the other is not received by anybody.
          std::string first;
          std::thread one([&] { first = connect_to(place / "denied"); });
          told.tell("second", connect_to(place / "denied"));
          one.join();
          told.tell("first", first);
        },
        [](const supervisor::SessionObjects&, kernel::Kernel&) { return std::make_unique<DiesOfTheFirstCall>(); });
    EXPECT_EQ(result.left_waiting, kept);
    for (const char* which : {"first", "second"}) EXPECT_EQ(story.of(which), "ENOSYS");
    EXPECT_EQ(scene.bad.reached(), 0U);
  }
}

constexpr int kLeaked = 200;

TEST(Entry, ListenerThatLeaked) {
  expect_won_and_lost(
      [](const Place& place, Story& story) {
        std::thread(answer_continue, kLeaked).detach();
        // The supervisor receives as well: now the one, now the other is faster.
        std::string how;
        for (int i = 0; i < 1000 && how != "ok"; ++i) how = connect_to(place / "denied");
        story.tell("attack", how);
      },
      "EACCES", {.leaked_listener = kLeaked});
}

// A program may stack filters of its own. One that says "allow" or less than we do changes nothing; one that answers in
// our place hides calls that then fail, and lets none through.
TEST(Entry, StackedFiltersOnlyNarrow) {
  const std::pair<uint32_t, const char*> stacked[] = {
      {SECCOMP_RET_ALLOW, "EACCES"}, {SECCOMP_RET_LOG, "EACCES"},          {SECCOMP_RET_TRACE, "EACCES"},
      {SECCOMP_RET_ERRNO, "ok"},     {SECCOMP_RET_ERRNO | EXDEV, "EXDEV"}, {SECCOMP_RET_USER_NOTIF, "ENOSYS"}};
  for (auto [action, told] : stacked) {
    Scene scene;
    Story story;
    auto result = scene.run(story, {}, [action = action](const Place& place, Story& own) {
      auto filter = brings_by_number({SYS_connect});
      filter[2].k = action;
      sock_fprog program{.len = static_cast<unsigned short>(filter.size()), .filter = filter.data()};
      own.tell("stack", outcome(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)));
      own.tell("connect", connect_to(place / "denied"));
    });
    EXPECT_EQ(story.of("stack"), "ok");
    EXPECT_EQ(story.of("connect"), told) << action;
    EXPECT_EQ(result.denied, std::string_view(told) == "EACCES" ? 1U : 0U) << action;
    EXPECT_EQ(scene.bad.reached(), 0U) << action;
  }
}

}  // namespace
}  // namespace wrapd::attack
