// SPDX-License-Identifier: Apache-2.0

// Who acts, for whom, and in whose place: a supervisor that is not wholly the caller, not exact about who asks, or not
// where the caller is lends what it has to whoever asks.

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <charconv>
#include <thread>

#include "arena.h"
#include "kernel/uapi.h"
#include "naive.h"
#include "programs.h"
#include "supervisor/path_walk.h"

namespace wrapd::attack {
namespace {

using policy::Verdict;
using supervisor::Answer;
using supervisor::Caller;
using supervisor::Outcome;

Result run_on(const Terms& terms, const Place& place, Story& story, const std::vector<Rule>& rules,
              const Program& program, const MakeHandler& handler = ours()) {
  auto result = fight_on(terms, rules, handler, [&] {
    limit_own_life();
    program(place, story);
    return 0;
  });
  EXPECT_EQ(result.exit_status, 0);
  return result;
}

// ---------------------------------------------------------------------------------------------------------------------
// Whose credentials

// Who connected, as the server sees it.
std::string client_of(const UniqueFd& listener) {
  UniqueFd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return outcome(-1);
  gid_t groups[64];
  socklen_t bytes = sizeof groups;
  if (::getsockopt(peer.get(), SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) < 0) return outcome(-1);
  return std::to_string(credentials.uid) + "/" + std::to_string(credentials.gid) + ", groups " +
         std::to_string(bytes / sizeof(gid_t));
}

TEST(Identity, PeersSeeTheCaller) {
  Place place;
  UniqueFd listener(unix_socket(SOCK_STREAM | SOCK_NONBLOCK));
  Address address = unix_address(place / "s");
  ASSERT_EQ(::bind(listener.get(), address.get(), address.length), 0);
  ASSERT_EQ(::chmod((place / "s").c_str(), 0666), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  Program program = [](const Place& where, Story& story) { story.tell("connect", connect_to(where / "s")); };
  Story lent, real, native;
  run_on({.supervisor_stays_root = true, .believes_everybody = true}, place, lent, allow_everything(place), program);
  ASSERT_EQ(lent.of("connect"), "ok");
  EXPECT_TRUE(client_of(listener).starts_with("0/0,")) << "the harness does not bite";
  run_on({}, place, real, allow_everything(place), program);
  ASSERT_EQ(real.of("connect"), "ok");
  std::string wrapped = client_of(listener);
  EXPECT_EQ(run_natively(place, native, program), 0);
  EXPECT_EQ(wrapped, client_of(listener));
  EXPECT_TRUE(wrapped.starts_with(std::to_string(kAttacker) + "/")) << wrapped;
}

TEST(Identity, FilesArePermittedToTheCaller) {
  Place place;
  make_directory(place / "closed", 0700, 0);
  make_directory(place / "readable", 0755, 0);
  Server hidden(place / "closed/s"), shut(place / "readable/s");
  ASSERT_EQ(::chown((place / "readable/s").c_str(), 0, 0), 0);
  ASSERT_EQ(::chmod((place / "readable/s").c_str(), 0600), 0);
  Program program = [](const Place& where, Story& story) {
    story.tell("hidden", connect_to(where / "closed/s"));
    story.tell("shut", connect_to(where / "readable/s"));
    story.tell("bind", bind_to(where / "readable/new"));
  };
  Story lent, real;
  run_on({.supervisor_stays_root = true, .believes_everybody = true}, place, lent, allow_everything(place), program);
  for (const char* what : {"hidden", "shut", "bind"}) EXPECT_EQ(lent.of(what), "ok") << "the harness does not bite";
  struct stat st {};
  ASSERT_EQ(::stat((place / "readable/new").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0U) << "the harness does not bite";
  ASSERT_EQ(::unlink((place / "readable/new").c_str()), 0);
  run_on({}, place, real, allow_everything(place), program);
  for (const char* what : {"hidden", "shut", "bind"}) EXPECT_EQ(real.of(what), "EACCES") << what;
  EXPECT_NE(::stat((place / "readable/new").c_str(), &st), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// With what the capability opens

// "/proc/NUMBER/cwd/NAME" is opened with the capability for whoever asks.
class FollowsForAnybody final : public supervisor::Handler {
 public:
  explicit FollowsForAnybody(kernel::Kernel& kernel) : kernel_(kernel) {}
  Outcome handle(const Caller& call, supervisor::CallContext&) override {
    auto taken = call.take_socket_call();
    if (!taken) return {.answer = Answer::errno_of(EFAULT), .record = std::nullopt};
    std::string path(supervisor::decode_unix_name(taken->address).text);
    pid_t process = 0;
    const char* begin = path.data() + sizeof "/proc/" - 1;
    auto [end, error] = std::from_chars(begin, path.data() + path.size(), process);
    UniqueFd directory(kernel_.open_task_link(process, "cwd"));
    std::string name = std::string(end).substr(sizeof "/cwd/" - 1);
    UniqueFd object(kernel_.open_at(directory.get(), name.c_str(), O_PATH, 0));
    return {.answer = Answer::of(kernel_.connect_object(taken->socket.get(), object.get())), .record = std::nullopt};
  }

 private:
  kernel::Kernel& kernel_;
};

TEST(Identity, DirectoryOfARootProcess) {
  Place place;
  make_directory(place / "closed", 0700, 0);
  make_directory(place / "closed/open", 0755, 0);
  Server hidden(place / "closed/open/s");
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t process = ::fork();
  if (process == 0) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ::chdir((place / "closed/open").c_str()) < 0 ||
        ::write(ready[1], "r", 1) != 1) {
      ::_exit(1);
    }
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  Program program = [process](const Place&, Story& story) {
    story.tell("connect", connect_to("/proc/" + std::to_string(process) + "/cwd/s"));
  };
  Story lent, real;
  run_on({}, place, lent, allow_everything(place), program,
         [](const supervisor::SessionObjects&, kernel::Kernel& kernel) {
           return std::make_unique<FollowsForAnybody>(kernel);
         });
  hidden.settle();
  EXPECT_EQ(lent.of("connect"), "ok") << "the harness does not bite";
  EXPECT_EQ(hidden.reached(), 1U) << "the harness does not bite";
  run_on({}, place, real, allow_everything(place), program);
  hidden.settle();
  EXPECT_EQ(real.of("connect"), "EACCES");
  EXPECT_EQ(hidden.reached(), 1U);
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// For whom

// Takes from whatever task the listener names.
class TakesFromAnybody final : public supervisor::Handler {
 public:
  explicit TakesFromAnybody(kernel::Kernel& kernel) : kernel_(kernel) {}
  Outcome handle(const Caller& call, supervisor::CallContext&) override {
    kernel::Task task;
    if (kernel_.open_task(call.tid, task) < 0) return {.answer = Answer::errno_of(ESRCH), .record = std::nullopt};
    UniqueFd socket(kernel_.take_descriptor(task.pidfd.get(), static_cast<int>(call.arguments[0])));
    auto address = call.copy_address(call.arguments[1], call.arguments[2]);
    if (!address) return {.answer = Answer::errno_of(EFAULT), .record = std::nullopt};
    return {.answer = Answer::of(kernel_.connect(socket.get(), address->get(), address->length)),
            .record = std::nullopt};
  }

 private:
  kernel::Kernel& kernel_;
};

// A listener may have been handed over whose tasks are another user's.
TEST(Identity, TaskOfAnotherUser) {
  Place place;
  make_directory(place / "private", 0700);
  Server own(place / "private/s");
  Program program = [](const Place& where, Story& story) {
    story.tell("connect", connect_to(where / "private/s"));
    story.tell("bind", bind_to(where / "private/new"));
  };
  Story native, lent, real;
  Terms other{.believes_everybody = true, .attacker = kOtherUid};
  run_on({.filter = brings_by_number({}), .attacker = kOtherUid}, place, native, {}, program);
  EXPECT_EQ(native.of("connect"), "EACCES");
  run_on(other, place, lent, allow_everything(place), program,
         [](const supervisor::SessionObjects&, kernel::Kernel& kernel) {
           return std::make_unique<TakesFromAnybody>(kernel);
         });
  own.settle();
  EXPECT_EQ(lent.of("connect"), "ok") << "the harness does not bite";
  EXPECT_EQ(own.reached(), 1U) << "the harness does not bite";
  other.believes_everybody = false;
  auto result = run_on(other, place, real, allow_everything(place), program);
  own.settle();
  EXPECT_EQ(real.of("connect"), "EACCES");
  EXPECT_EQ(real.of("bind"), "EACCES");
  EXPECT_EQ(own.reached(), 1U);
  EXPECT_EQ(result.denied, 2U);
}

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

// Judges the descriptor of the process, not of the thread that asks.
MakeHandler process_may_listen() {
  return [](const supervisor::SessionObjects& objects, kernel::Kernel& kernel) {
    Look look = [&kernel](const supervisor::SessionObjects& session, const Caller& call) {
      kernel::TaskStatus status;
      if (kernel.task_status(call.tid, status) < 0) return false;
      kernel::Task process;
      if (kernel.open_task(status.tgid, process) < 0) return false;
      UniqueFd socket(kernel.take_descriptor(process.pidfd.get(), static_cast<int>(call.arguments[0])));
      supervisor::AddressCopy bound;
      return kernel.socket_name(socket.get(), bound.storage, bound.length) == 0 &&
             session.layers
                 .judge(policy::with_path(policy::Operation::listen,
                                          std::string(supervisor::decode_unix_name(bound).text)))
                 .permits();
    };
    return std::make_unique<LooksAndLetsGo>(objects, look);
  };
}

TEST(Identity, ThreadWithATableOfItsOwn) {
  for (bool naive : {true, false}) {
    Place place;
    make_directory(place / "open");
    make_directory(place / "kept");
    UniqueFd good(unix_socket()), bad(unix_socket());
    for (auto [fd, name] : {std::pair{&good, "open/s"}, std::pair{&bad, "kept/s"}}) {
      Address address = unix_address(place / name);
      ASSERT_EQ(::bind(fd->get(), address.get(), address.length), 0);
      ASSERT_EQ(::chown((place / name).c_str(), kAttacker, kAttacker), 0);
    }
    Story story;
    run_on(
        {}, place, story, {{{place / "open/**"}, Verdict::allow}},
        [&](const Place&, Story& told) {
          constexpr int kNumber = 300;
          if (::dup2(good.get(), kNumber) < 0) ::_exit(1);
          std::thread([&] {
            if (::unshare(CLONE_FILES) < 0 || ::dup2(bad.get(), kNumber) < 0) ::_exit(1);
            told.tell("listen", outcome(::listen(kNumber, 1)));
          }).join();
        },
        naive ? process_may_listen() : ours());
    EXPECT_EQ(story.of("listen"), naive ? "ok" : "EACCES");
    EXPECT_EQ(listens(bad.get()), naive) << "the harness does not bite, or we are bitten";
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Where

// What is mounted is seen by the process and its children alone.
void leave_mounts_of_others() {
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) ::_exit(94);
}

void mount_tmpfs(const std::string& path) {
  if (::mount("tmpfs", path.c_str(), "tmpfs", 0, "mode=0755") < 0) ::_exit(93);
}

// The caller's mount namespace has something else under the name of a socket outside.
TEST(Identity, NamesAreThoseOfTheCallersMounts) {
  Place place;
  make_directory(place / "dir");
  Server outside(place / "dir/s");
  Program program = [](const Place& where, Story& story) {
    story.tell("connect", connect_to(where / "dir/s"));
    story.tell("bind", bind_to(where / "dir/new"));
  };
  Terms terms{.supervisor_keeps_root = true, .furnish = [&] {
                leave_mounts_of_others();
                mount_tmpfs(place / "dir");
                if (::chown((place / "dir").c_str(), kAttacker, kAttacker) < 0) ::_exit(92);
              }};
  struct stat st {};
  Story lent, real;
  run_on(terms, place, lent, allow_everything(place), program);
  outside.settle();
  EXPECT_EQ(lent.of("connect"), "ok") << "the harness does not bite";
  EXPECT_EQ(outside.reached(), 1U) << "the harness does not bite";
  EXPECT_EQ(::unlink((place / "dir/new").c_str()), 0) << "the harness does not bite";
  terms.supervisor_keeps_root = false;
  run_on(terms, place, real, allow_everything(place), program);
  outside.settle();
  EXPECT_EQ(real.of("connect"), "ENOENT");
  EXPECT_EQ(real.of("bind"), "ok");
  EXPECT_EQ(outside.reached(), 1U);
  EXPECT_NE(::stat((place / "dir/new").c_str(), &st), 0);
}

// The same, where the caller's root is not the service's.
TEST(Identity, NamesAreThoseOfTheCallersRoot) {
  Place place;
  make_directory(place / "jail");
  Server outside(place / "s");
  Program program = [&](const Place& where, Story& story) {
    story.tell("connect", connect_to(where / "s"));
    story.tell("climb", connect_to("/../../../.." + (where / "s")));
    story.tell("bind", bind_to("/new"));
  };
  Terms terms{.supervisor_keeps_root = true, .furnish = [&] {
                if (::chroot((place / "jail").c_str()) < 0 || ::chdir("/") < 0) ::_exit(94);
              }};
  Story lent, real;
  run_on(terms, place, lent, allow_everything(place), program);
  outside.settle();
  EXPECT_EQ(lent.of("connect"), "ok") << "the harness does not bite";
  EXPECT_EQ(lent.of("climb"), "ok") << "the harness does not bite";
  EXPECT_EQ(outside.reached(), 2U) << "the harness does not bite";
  terms.supervisor_keeps_root = false;
  run_on(terms, place, real, allow_everything(place), program);
  outside.settle();
  EXPECT_EQ(real.of("connect"), "ENOENT");
  EXPECT_EQ(real.of("climb"), "ENOENT");
  EXPECT_EQ(real.of("bind"), "ok");
  EXPECT_EQ(outside.reached(), 2U);
  struct stat st {};
  EXPECT_EQ(::stat((place / "jail/new").c_str(), &st), 0);
}

// Whoever is in a Landlock domain is not held by it in what a supervisor outside does: why the service turns confined
// callers away.
TEST(Identity, ADomainOfTheCallersOwn) {
  Place place;
  make_directory(place / "dir");
  auto enter_domain = [] {
    kernel::LandlockRulesetAttr no_sockets{.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SOCK};
    UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &no_sockets, sizeof no_sockets, 0)));
    if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) < 0) ::_exit(94);
  };
  Program program = [](const Place& where, Story& story) { story.tell("bind", bind_to(where / "dir/s")); };
  Story native, lent;
  run_on({.filter = brings_by_number({}), .furnish = enter_domain}, place, native, {}, program);
  EXPECT_EQ(native.of("bind"), "EACCES");
  run_on({.furnish = enter_domain}, place, lent, allow_everything(place), program);
  EXPECT_EQ(lent.of("bind"), "ok") << "the service need not turn confined callers away";
}

// Connects a socket that it makes itself, and would then give it to the target.
class ConnectsItsOwnSocket final : public supervisor::Handler {
 public:
  explicit ConnectsItsOwnSocket(const supervisor::SessionObjects& session) : session_(session) {}
  Outcome handle(const Caller& call, supervisor::CallContext&) override {
    auto address = call.copy_address(call.arguments[1], call.arguments[2]);
    if (!address) return {.answer = Answer::errno_of(EFAULT), .record = std::nullopt};
    UniqueFd own(unix_socket());
    return {.answer = Answer::of(call.act().connect(own.get(), address->get(), address->length)),
            .record = std::nullopt};
  }

 private:
  supervisor::SessionObjects session_;
};

// Abstract names belong to a network namespace: the target's, which its own socket knows.
TEST(Identity, AbstractNamesAreThoseOfTheCallersNetwork) {
  Place place;
  const std::string name = "wrapd-attack-network-" + std::to_string(::getpid());
  Server outside("@" + name);
  const Terms terms{.furnish = [] {
    if (::unshare(CLONE_NEWNET) < 0) ::_exit(94);
  }};
  Program program = [&](const Place&, Story& story) {
    story.tell("connect", connect_to(unix_address(std::string(1, '\0') + name)));
    story.tell("bind", bind_to(unix_address(std::string(1, '\0') + name)));
  };
  Story lent, real;
  run_on({.filter = brings_by_number({SYS_connect}), .furnish = terms.furnish}, place, lent, allow_everything(place),
         program, [](const supervisor::SessionObjects& session, kernel::Kernel&) {
           return std::make_unique<ConnectsItsOwnSocket>(session);
         });
  outside.settle();
  EXPECT_EQ(outside.reached(), 1U) << "the harness does not bite";
  run_on(terms, place, real, allow_everything(place), program);
  outside.settle();
  EXPECT_EQ(real.of("connect"), "ECONNREFUSED");
  EXPECT_EQ(real.of("bind"), "ok");
  EXPECT_EQ(outside.reached(), 1U);
}

// Pins the object, judges it, and then names its own descriptor in a /proc that the caller has furnished.
class NamesItsDescriptor final : public supervisor::Handler {
 public:
  explicit NamesItsDescriptor(const supervisor::SessionObjects& session)
      : session_(session), walk_(session.kernel, session.root) {}
  Outcome handle(const Caller& call, supervisor::CallContext&) override {
    auto& kernel = session_.kernel;
    auto taken = call.take_socket_call();
    if (!taken) return {.answer = Answer::errno_of(EFAULT), .record = std::nullopt};
    std::string path(supervisor::decode_unix_name(taken->address).text);
    auto object = walk_.locate(call, -1, path, supervisor::LastElement::follow);
    if (!object)
      return {.answer = Answer::errno_of(supervisor::seen_by_target(object.error())), .record = std::nullopt};
    auto real = kernel.real_path(object->fd.get());
    if (!real || !session_.layers.judge(policy::with_path(policy::Operation::connect, *real)).permits()) {
      return {.answer = Answer::errno_of(EACCES), .record = std::nullopt};
    }
    Address name = unix_address("/proc/self/fd/" + std::to_string(object->fd.get()));
    return {.answer = Answer::of(call.act().connect(taken->socket.get(), name.get(), name.length)),
            .record = std::nullopt};
  }

 private:
  supervisor::SessionObjects session_;
  supervisor::PathWalk walk_;
};

TEST(Identity, ProcThatTheCallerFurnished) {
  Place place;
  Server good(place / "allowed"), bad(place / "denied");
  std::vector<Rule> rules{{{place / "denied"}, Verdict::deny}, {{"/**"}, Verdict::allow}};
  Terms terms{.furnish = [&] {
    leave_mounts_of_others();
    mount_tmpfs("/proc");
    if (::mkdir("/proc/self", 0755) < 0 || ::mkdir("/proc/self/fd", 0755) < 0) ::_exit(92);
    for (int fd = 0; fd < 100; ++fd) {
      if (::symlink((place / "denied").c_str(), ("/proc/self/fd/" + std::to_string(fd)).c_str()) < 0) ::_exit(91);
    }
  }};
  Program program = [](const Place& where, Story& story) {
    story.tell("allowed", connect_to(where / "allowed"));
    story.tell("furnished", connect_to("/proc/self/fd/7"));
    story.tell("bind", bind_to(where / "new"));
  };
  Story lent, real;
  run_on(terms, place, lent, rules, program, [](const supervisor::SessionObjects& session, kernel::Kernel&) {
    return std::make_unique<NamesItsDescriptor>(session);
  });
  bad.settle();
  EXPECT_EQ(bad.reached(), 1U) << "the harness does not bite";
  run_on(terms, place, real, rules, program);
  good.settle();
  bad.settle();
  EXPECT_EQ(real.of("allowed"), "ok");
  EXPECT_EQ(real.of("furnished"), "EACCES");
  EXPECT_EQ(real.of("bind"), "ok");
  EXPECT_EQ(good.reached(), 1U);
  EXPECT_EQ(bad.reached(), 1U);
}

}  // namespace
}  // namespace wrapd::attack
