// SPDX-License-Identifier: Apache-2.0
#include "supervisor/caller.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "fake_kernel.h"

namespace wrapd::supervisor {
namespace {

using kernel::capability_bit;

constexpr uid_t kUser = 1000, kOther = 2000;
constexpr uint64_t kMayBeAnybody = capability_bit(CAP_SETUID) | capability_bit(CAP_SETGID);

// Notes in which thread it was called, and does what a test says.
class Recorder final : public Handler {
 public:
  Outcome handle(const Caller& call, CallContext&) override {
    ++calls;
    thread = ::gettid();
    seen = call.credentials();
    return act(call);
  }
  std::function<Outcome(const Caller&)> act = [](const Caller&) { return Outcome{}; };
  int calls = 0;
  pid_t thread = 0;
  kernel::Credentials seen;
};

struct NoContext final : CallContext {
  bool may_wait_for(uint64_t) override { return true; }
  bool will_wait() override { return true; }
  [[nodiscard]] int interrupted() override { return 0; }
};

struct Scene {
  FakeKernel kernel;
  UniqueFd root{::open("/", O_PATH | O_CLOEXEC)};
  std::optional<Callers> callers;
  Recorder handler;
  NoContext context;

  // Of root's, with the capabilities that its supervisor has.
  void of_root(uint64_t permitted = kMayBeAnybody | kernel::kActingCapabilities, uint64_t effective = 0) {
    kernel.own = {.uids = {1, 0, 1, 0}, .gids = {1, 0, 1, 0}, .permitted = permitted, .effective = effective};
    kernel.credentials = {.permitted = ~uint64_t{0}, .effective = ~uint64_t{0}, .no_new_privs = true};
  }
  Outcome call(pid_t tid = 100, uint64_t id = 7, int number = SYS_connect) {
    if (!callers) callers.emplace(kernel, kernel, root.get());
    return callers->serve({.id = id, .tid = tid, .number = number}, handler, context);
  }
};

kernel::TaskCredentials with_ids(uid_t real, uid_t effective, uid_t saved, uid_t fs) {
  return {.uids = {real, effective, saved, fs},
          .gids = {kUser, kUser, kUser, kUser},
          .groups = {},
          .permitted = 0,
          .effective = 0,
          .no_new_privs = true};
}

// --- what a task must be

TEST(Caller, OfAnOrdinarySessionIsHandledInTheThreadThatReceived) {
  Scene s;
  EXPECT_EQ(s.call().answer.error, 0);
  EXPECT_EQ(s.handler.calls, 1);
  EXPECT_EQ(s.handler.thread, ::gettid());
  EXPECT_EQ(s.handler.seen.uid, kUser);
  EXPECT_TRUE(s.kernel.acted_as.empty());
}

TEST(Caller, WithOtherIdsIsRefusedAndRecorded) {
  struct Case {
    const char* what;
    std::function<void(kernel::TaskCredentials&)> change;
  };
  const Case cases[] = {
      {"effective uid",
       [](auto& c) {
         c.uids = {kUser, kOther, kUser, kOther};
       }},
      {"file system uid", [](auto& c) { c.uids[3] = kOther; }},
      {"all uids",
       [](auto& c) {
         c.uids = {kOther, kOther, kOther, kOther};
       }},
      {"root",
       [](auto& c) {
         c.uids = {0, 0, 0, 0};
       }},
      {"effective gid",
       [](auto& c) {
         c.gids = {kUser, kOther, kUser, kOther};
       }},
      {"file system gid", [](auto& c) { c.gids[3] = kOther; }},
      {"a group more", [](auto& c) { c.groups = {kOther}; }},
  };
  for (const Case& c : cases) {
    Scene s;
    c.change(s.kernel.credentials);
    auto outcome = s.call();
    EXPECT_EQ(outcome.answer.error, EACCES) << c.what;
    ASSERT_TRUE(outcome.record) << c.what;
    EXPECT_EQ(outcome.record->operation, "connect");
    EXPECT_NE(outcome.record->reason.find("other ids"), std::string::npos) << outcome.record->reason;
    EXPECT_EQ(outcome.record->comm, "comm");
    EXPECT_EQ(s.handler.calls, 0) << c.what;
    EXPECT_TRUE(s.kernel.acted_as.empty()) << c.what;
  }
}

TEST(Caller, AGroupLessIsRefused) {
  Scene s;
  s.kernel.own.groups = {kUser, kOther};
  s.kernel.credentials.groups = {kUser};
  EXPECT_EQ(s.call().answer.error, EACCES);
  s.kernel.credentials.groups = {kUser, kOther};
  EXPECT_EQ(s.call(101).answer.error, 0);
}

TEST(Caller, OfAnotherUserNamespaceOrRootIsRefused) {
  Scene s;
  s.kernel.same_user_namespace = false;
  auto outcome = s.call();
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_NE(outcome.record->reason.find("user namespace"), std::string::npos);
  s.kernel.same_user_namespace = true;
  s.kernel.same_root = false;
  outcome = s.call();
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_NE(outcome.record->reason.find("root directory"), std::string::npos);
  s.kernel.same_root = true;
  EXPECT_EQ(s.call().answer.error, 0);
}

TEST(Caller, WithoutOwnCredentialsNothingIsDone) {
  Scene s;
  s.kernel.own = {.uids = {1, kOther, 1, kOther}};
  EXPECT_EQ(s.call().answer.error, EACCES);
  EXPECT_EQ(s.handler.calls, 0);
}

// --- how often it is looked at

// How often the credentials of a task are read in five calls, if it was the session's first.
int reads_of_the_first(Scene& s) {
  UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  s.callers.emplace(s.kernel, s.kernel, s.root.get());
  s.callers->begin_with(100, self.get());
  const int before = s.kernel.credential_reads;
  for (uint64_t id = 1; id <= 5; ++id) EXPECT_EQ(s.call(100, id).answer.error, 0);
  EXPECT_EQ(s.kernel.looks, 1);
  return s.kernel.credential_reads - before;
}

TEST(Caller, WhereNoTaskCanBeSomebodyElseItIsLookedAtOnce) {
  Scene s;
  EXPECT_EQ(reads_of_the_first(s), 1);
  Scene not_told;
  for (uint64_t id = 1; id <= 5; ++id) EXPECT_EQ(not_told.call(100, id).answer.error, 0);
  EXPECT_EQ(not_told.kernel.credential_reads, 5);
}

// Ids that differ can be swapped, and so can what a capability lets a task take.
TEST(Caller, ThatMayChangeIsLookedAtEachTime) {
  const std::function<void(kernel::TaskCredentials&)> may_change[] = {
      [](auto& c) { c.uids[2] = kOther; },     [](auto& c) { c.uids[0] = kOther; },
      [](auto& c) { c.gids[2] = kOther; },     [](auto& c) { c.permitted = capability_bit(CAP_SETUID); },
      [](auto& c) { c.no_new_privs = false; },
  };
  for (const auto& change : may_change) {
    Scene s;
    change(s.kernel.credentials);
    EXPECT_EQ(reads_of_the_first(s), 5);
    s.kernel.credentials.uids[1] = s.kernel.credentials.uids[3] = kOther;
    EXPECT_EQ(s.call(100, 6).answer.error, EACCES) << "it took another id between two calls";
    s.kernel.credentials.uids[1] = s.kernel.credentials.uids[3] = kUser;
    EXPECT_EQ(s.call(100, 7).answer.error, 0);
  }
}

TEST(Caller, AFirstTaskThatIsGoneSaysNothing) {
  Scene s;
  pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  UniqueFd gone(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  s.callers.emplace(s.kernel, s.kernel, s.root.get());
  s.callers->begin_with(100, gone.get());
  for (uint64_t id = 1; id <= 5; ++id) EXPECT_EQ(s.call(100, id).answer.error, 0);
  EXPECT_EQ(s.kernel.credential_reads, 6);
}

TEST(Caller, ANumberThatIsAnothersNowIsLookedAtAnew) {
  Scene s;
  EXPECT_EQ(s.call(100, 1).answer.error, 0);
  s.kernel.gone = -ESRCH;  // of the one that is known
  s.kernel.credentials.uids = {kOther, kOther, kOther, kOther};
  EXPECT_EQ(s.call(100, 2).answer.error, EACCES);
  EXPECT_EQ(s.handler.calls, 1);
  EXPECT_EQ(s.kernel.looks, 3) << "once for itself, once for its name in the record";
}

TEST(Caller, ManyTasksAreForgotten) {
  Scene s;
  for (pid_t tid = 1; tid <= 200; ++tid) EXPECT_EQ(s.call(tid).answer.error, 0);
  EXPECT_EQ(s.kernel.looks, 200);
  EXPECT_EQ(s.call(200).answer.error, 0);
  EXPECT_EQ(s.kernel.looks, 200);
  EXPECT_EQ(s.call(1).answer.error, 0);
  EXPECT_EQ(s.kernel.looks, 201);
}

// --- who acts

TEST(Caller, InRootsSessionIsActedForWithItsOwnCredentials) {
  Scene s;
  s.of_root();
  s.kernel.credentials.uids = {0, kOther, 0, kUser};
  s.kernel.credentials.gids = {0, 5, 0, 6};
  s.kernel.credentials.groups = {7, 8};
  s.kernel.credentials.effective = capability_bit(CAP_FOWNER) | capability_bit(CAP_SYS_ADMIN);
  EXPECT_EQ(s.call().answer.error, 0);
  ASSERT_EQ(s.handler.calls, 1);
  EXPECT_NE(s.handler.thread, ::gettid());
  ASSERT_TRUE(s.kernel.acted_as.contains(s.handler.thread));
  const kernel::Credentials expected{.uid = kOther,
                                     .fs_uid = kUser,
                                     .gid = 5,
                                     .fs_gid = 6,
                                     .groups = {7, 8},
                                     .capabilities = capability_bit(CAP_FOWNER)};
  EXPECT_EQ(s.kernel.acted_as.at(s.handler.thread), expected);
  EXPECT_FALSE(s.kernel.acted_as.contains(::gettid())) << "the thread that receives stays what it is";
}

TEST(Caller, RootThatDroppedCapabilitiesDoesNotGetThemBack) {
  Scene s;
  s.of_root(kMayBeAnybody | kernel::kActingCapabilities, kernel::kActingCapabilities);
  s.kernel.credentials.effective = kernel::kActingCapabilities;
  EXPECT_EQ(s.call(100, 1).answer.error, 0);
  EXPECT_EQ(s.handler.thread, ::gettid()) << "nothing differs";
  s.kernel.credentials.effective &= ~capability_bit(CAP_DAC_OVERRIDE);
  EXPECT_EQ(s.call(100, 2).answer.error, 0);
  ASSERT_TRUE(s.kernel.acted_as.contains(s.handler.thread));
  EXPECT_EQ(s.kernel.acted_as.at(s.handler.thread).capabilities,
            kernel::kActingCapabilities & ~capability_bit(CAP_DAC_OVERRIDE));
}

TEST(Caller, OneThreadServesAllCallsOfOneIdentity) {
  Scene s;
  s.of_root();
  std::set<pid_t> threads;
  for (uint64_t id = 1; id <= 20; ++id) {
    s.kernel.credentials.uids = id % 2 == 0 ? std::array<uid_t, 4>{kOther, kOther, kOther, kOther}
                                            : std::array<uid_t, 4>{kUser, kUser, kUser, kUser};
    s.kernel.credentials.permitted = s.kernel.credentials.effective = 0;
    EXPECT_EQ(s.call(static_cast<pid_t>(100 + id % 2), id).answer.error, 0);
    EXPECT_EQ(s.kernel.acted_as.at(s.handler.thread).uid, id % 2 == 0 ? kOther : kUser);
    threads.insert(s.handler.thread);
  }
  EXPECT_EQ(threads.size(), 2U);
}

TEST(Caller, WhatCannotBeTakenIsRefusedAndRecorded) {
  Scene s;
  s.of_root();
  s.kernel.credentials = with_ids(kOther, kOther, kOther, kOther);
  s.kernel.cannot_act = Error{"cannot set the user id: no", EPERM};
  auto outcome = s.call();
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_EQ(s.handler.calls, 0);
  ASSERT_TRUE(outcome.record);
  EXPECT_EQ(outcome.record->reason, "cannot act as uid 2000, gid 1000: cannot set the user id: no");
}

TEST(Caller, ACapabilityThatCannotBeHadIsSaidToBeMissing) {
  Scene s;
  s.kernel.credentials.permitted = s.kernel.credentials.effective = capability_bit(CAP_NET_BIND_SERVICE);
  EXPECT_FALSE(s.call(100, 1, SYS_bind).record) << "it did not need it";
  EXPECT_EQ(s.handler.thread, ::gettid());
  s.handler.act = [](const Caller&) { return Outcome{.answer = Answer::errno_of(EACCES), .record = {}}; };
  auto outcome = s.call(100, 2, SYS_bind);
  EXPECT_EQ(outcome.answer.error, EACCES);
  ASSERT_TRUE(outcome.record);
  EXPECT_EQ(outcome.record->reason,
            "the supervisor of this session cannot use CAP_NET_BIND_SERVICE, which the program has");
  EXPECT_FALSE(s.call(100, 3, SYS_connect).record) << "no use there";
  // A refusal of the policy's is one.
  s.handler.act = [](const Caller&) {
    return Outcome{.answer = Answer::errno_of(EACCES), .record = Record{.operation = "bind", .reason = "protected"}};
  };
  EXPECT_EQ(s.call(100, 4, SYS_bind).record->reason, "protected");
}

// Root that has no CAP_KILL may not signal another user's task; a thread that is that user may.
TEST(Caller, IsEndedAsWhatItIs) {
  Scene s;
  s.of_root();
  s.kernel.credentials = with_ids(kOther, kOther, kOther, kOther);
  pid_t killer = 0;
  s.kernel.on_operation = [&] {
    killer = ::gettid();
    return 0;
  };
  s.callers.emplace(s.kernel, s.kernel, s.root.get());
  Record record;
  s.callers->end({.id = 7, .tid = 100, .number = SYS_connect}, record);
  EXPECT_EQ(s.kernel.done, std::vector<std::string>{"kill"});
  ASSERT_TRUE(s.kernel.acted_as.contains(killer));
  EXPECT_EQ(s.kernel.acted_as.at(killer).uid, kOther);
  EXPECT_EQ(record.comm, "comm");
  s.kernel.done.clear();
  s.kernel.is_valid = [](uint64_t) { return false; };
  Record none;
  s.callers->end({.id = 8, .tid = 100, .number = SYS_connect}, none);
  EXPECT_TRUE(s.kernel.done.empty());
  EXPECT_EQ(none.comm, "");
}

// The signals that are to end a wait reach the thread that waits, though another one was told.
TEST(Caller, AnInterruptionReachesTheThreadThatActs) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(kInterruptSignal, &action, nullptr), 0);
  Scene s;
  s.of_root();
  int waits[2];
  ASSERT_EQ(::pipe2(waits, O_CLOEXEC), 0);
  // The actor was started by a thread that does not take the signal.
  std::thread([&] {
    sigset_t interrupts;
    ::sigemptyset(&interrupts);
    ::sigaddset(&interrupts, kInterruptSignal);
    ::pthread_sigmask(SIG_BLOCK, &interrupts, nullptr);
    EXPECT_EQ(s.call().answer.error, 0);
  }).join();
  const pid_t actor = s.handler.thread;
  std::atomic<pthread_t> receiver{::pthread_self()};
  std::atomic<bool> handling{false}, answered{false};
  s.handler.act = [&](const Caller&) {
    handling = true;
    char byte;
    const bool interrupted = ::read(waits[0], &byte, 1) < 0 && errno == EINTR;
    return Outcome{.answer = Answer::errno_of(interrupted ? EINTR : 0), .record = {}};
  };
  std::thread other([&] {
    while (!handling) std::this_thread::yield();
    for (; !answered; ::usleep(1000)) ::pthread_kill(receiver, kInterruptSignal);
  });
  EXPECT_EQ(s.call().answer.error, EINTR);
  EXPECT_NE(s.handler.thread, ::gettid());
  EXPECT_EQ(s.handler.thread, actor);
  answered = true;
  other.join();
  ::close(waits[0]);
  ::close(waits[1]);
}

// --- what is told of it

// The number is another task's from the moment on that `reads` things were read of it.
class Swapped final : public FakeKernel {
 public:
  std::string task_exe(pid_t tid) override {
    if (swap_at_exe) swap();
    return FakeKernel::task_exe(tid);
  }
  ssize_t read_memory(pid_t tid, uint64_t address, std::span<std::byte> buffer) override {
    if (swap_at_memory) swap();
    return FakeKernel::read_memory(tid, address, buffer);
  }
  bool swap_at_exe = false, swap_at_memory = false;

 private:
  void swap() {
    comm = "another", exe = "/another";
    memory[0x1000] = "/another/secret" + std::string(1, '\0');
    is_valid = [](uint64_t) { return false; };
  }
};

TEST(Caller, NoRecordTellsOfAnotherTask) {
  for (bool at_memory : {true, false}) {
    Swapped kernel;
    kernel.memory[0x1000] = "/mine" + std::string(1, '\0');
    UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
    Callers callers(kernel, kernel, root.get());
    Recorder handler;
    // Refuses on what it read, without a look whether the task is there.
    handler.act = [](const Caller& call) {
      Record record{.operation = "rename"};
      record.path = call.copy_path(0x1000).value_or("");
      call.name(record);
      return Outcome{.answer = Answer::errno_of(EACCES), .record = record};
    };
    NoContext context;
    auto first = callers.serve({.id = 1, .tid = 100, .number = SYS_renameat2}, handler, context);
    ASSERT_TRUE(first.record);
    EXPECT_EQ(first.record->path, "/mine");
    EXPECT_EQ(first.record->comm, "comm");
    EXPECT_EQ(first.record->exe, "/exe");
    (at_memory ? kernel.swap_at_memory : kernel.swap_at_exe) = true;
    auto second = callers.serve({.id = 2, .tid = 100, .number = SYS_renameat2}, handler, context);
    EXPECT_FALSE(second.record) << second.record->path;
    EXPECT_EQ(handler.calls, 2);
  }
}

// What was done is told. Whose it was is told only if that was certain before.
TEST(Caller, WhatWasDoneIsToldWithoutAWrongName) {
  Swapped kernel;
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
  Callers callers(kernel, kernel, root.get());
  Recorder handler;
  NoContext context;
  handler.act = [&](const Caller& call) {
    EXPECT_TRUE(call.waits());
    Record record{.operation = "connect"};
    record.done = true;
    // It is killed while it is served, and its number given away.
    kernel.comm = "another", kernel.exe = "/another";
    kernel.is_valid = [](uint64_t) { return false; };
    return Outcome{.answer = {}, .record = record};
  };
  auto outcome = callers.serve({.id = 1, .tid = 100, .number = SYS_connect}, handler, context);
  ASSERT_TRUE(outcome.record);
  EXPECT_EQ(outcome.record->comm, "comm");
  EXPECT_EQ(outcome.record->exe, "/exe");

  kernel.comm = "comm", kernel.exe = "/exe";
  kernel.is_valid = [](uint64_t) { return true; };
  handler.act = [&](const Caller&) {
    Record record{.operation = "connect"};
    record.done = true;
    kernel.exe = "/another";
    kernel.is_valid = [](uint64_t) { return false; };
    return Outcome{.answer = {}, .record = record};
  };
  outcome = callers.serve({.id = 2, .tid = 100, .number = SYS_connect}, handler, context);
  ASSERT_TRUE(outcome.record);
  EXPECT_EQ(outcome.record->exe, "") << "not known";
  EXPECT_EQ(outcome.record->comm, "");
}

TEST(Caller, ATaskThatIsGoneIsNotProven) {
  Scene s;
  s.kernel.is_valid = [](uint64_t) { return false; };
  auto outcome = s.call();
  EXPECT_EQ(outcome.answer.error, EINTR);
  EXPECT_FALSE(outcome.record);
  EXPECT_EQ(s.handler.calls, 0);
}

}  // namespace
}  // namespace wrapd::supervisor
