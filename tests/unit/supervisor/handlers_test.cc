// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstring>
#include <filesystem>
#include <future>
#include <utility>

#include "base/io.h"
#include "fake_kernel.h"
#include "policy/rules.h"
#include "supervisor/caller.h"
#include "supervisor/calls/rename_link.h"
#include "supervisor/calls/socket.h"
#include "supervisor/gate.h"
#include "supervisor/identities.h"
#include "supervisor/report.h"
#include "supervisor/session/reporter.h"
#include "tests/lib/patterns.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::supervisor {
namespace {

using policy::Verdict;

class Place : public test::TemporaryDirectory {
 public:
  // A bound socket; its inode stays when the descriptor is closed.
  std::string socket(const std::string& name) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = *this / name;
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return path;
  }
};

std::string address_bytes(sa_family_t family, const std::string& rest) {
  std::string bytes(sizeof family, '\0');
  std::memcpy(bytes.data(), &family, sizeof family);
  return bytes + rest;
}
std::string unix_bytes(const std::string& rest) {
  return address_bytes(AF_UNIX, rest);
}

AddressCopy copy_of(const std::string& bytes) {
  AddressCopy copy;
  std::memcpy(&copy.storage, bytes.data(), bytes.size());
  copy.length = static_cast<socklen_t>(bytes.size());
  return copy;
}

constexpr Notification call_of(int number) {
  return {.id = 7, .tid = 100, .number = number};
}

// --- addresses

TEST(Address, Shapes) {
  using Kind = UnixName::Kind;
  auto kind = [](const std::string& bytes) { return decode_unix_name(copy_of(bytes)).kind; };
  EXPECT_EQ(kind(""), Kind::invalid);
  EXPECT_EQ(kind("\x01"), Kind::invalid);
  EXPECT_EQ(kind(unix_bytes("")), Kind::unnamed);
  EXPECT_EQ(kind(unix_bytes("x")), Kind::path);
  EXPECT_EQ(kind(unix_bytes(std::string(1, '\0'))), Kind::abstract);
  EXPECT_EQ(kind(unix_bytes(std::string(108, 'x'))), Kind::path);
  EXPECT_EQ(kind(unix_bytes(std::string(109, 'x'))), Kind::invalid);
  EXPECT_EQ(kind(unix_bytes(std::string(126, 'x'))), Kind::invalid);
  EXPECT_EQ(kind(address_bytes(AF_INET, "xxxxxx")), Kind::invalid);
  EXPECT_EQ(kind(address_bytes(AF_UNSPEC, "/x")), Kind::invalid);
  AddressCopy nul = copy_of(unix_bytes(std::string("a\0b", 3)));
  EXPECT_EQ(decode_unix_name(nul).text, "a");
  AddressCopy full = copy_of(unix_bytes(std::string(108, 'x')));
  EXPECT_EQ(decode_unix_name(full).text, std::string(108, 'x'));
  AddressCopy abstract = copy_of(unix_bytes(std::string("\0a\0b\0", 5)));
  EXPECT_EQ(decode_unix_name(abstract).text, std::string("a\0b\0", 4));
  AddressCopy empty = copy_of(unix_bytes(std::string(1, '\0')));
  EXPECT_EQ(decode_unix_name(empty).text, "");
}

// What went wrong in the supervisor is no answer for a target, and no answer is an error of the supervisor's.
static_assert(!std::is_convertible_v<std::unexpected<Error>, ForTarget<int>>);
static_assert(!std::is_convertible_v<std::unexpected<Failure>, Result<int>>);

// The errno value that a step failed with, or kRefused.
constexpr int kRefused = -1;
int code(const Failure& failure) {
  const auto* error = std::get_if<TargetErrno>(&failure);
  return error != nullptr ? error->value : kRefused;
}

TEST(Address, IsCopiedAsTheKernelWould) {
  FakeKernel kernel;
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
  kernel.memory[0x1000] = unix_bytes("/x") + std::string(200, '\0');
  auto copy = [&](uint64_t address, uint64_t length) {
    auto got = Callers(kernel, kernel, root.get()).prove(call_of(SYS_connect))->copy_address(address, length);
    return got ? 0 : code(got.error());
  };
  for (uint64_t length : {0U, 1U, 2U, 3U, 110U, 111U, 128U}) EXPECT_EQ(copy(0x1000, length), 0) << length;
  EXPECT_EQ(copy(0x1000, 129), EINVAL);
  EXPECT_EQ(copy(0x1000, static_cast<uint64_t>(-1)), EINVAL);
  EXPECT_EQ(copy(0x1000, 0xffffffff), EINVAL);
  EXPECT_EQ(copy(0x1000, 0x1'0000'0003), 0) << "the kernel takes an int";
  EXPECT_EQ(copy(0, 0), 0);
  EXPECT_EQ(copy(0, 3), EFAULT);
  EXPECT_EQ(copy(0x1000 + kernel.memory[0x1000].size() - 2, 3), EFAULT) << "not the whole of it";
  kernel.read_error = -EPERM;
  EXPECT_EQ(copy(0x1000, 3), kRefused);
}

TEST(Path, IsCopiedAsTheKernelWould) {
  FakeKernel kernel;
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
  auto copy = [&](uint64_t address) {
    return Callers(kernel, kernel, root.get()).prove(call_of(SYS_rename))->copy_path(address);
  };
  kernel.memory[0x1000] = std::string("/a/b\0rest", 9);
  EXPECT_EQ(copy(0x1000).value(), "/a/b");
  kernel.memory = {{0x10fd, std::string(1000, 'x') + '\0'}};
  EXPECT_EQ(copy(0x10fd).value().size(), 1000U);
  kernel.memory = {{0x1000, std::string(PATH_MAX - 1, 'x') + '\0'}};
  EXPECT_EQ(copy(0x1000).value().size(), size_t{PATH_MAX - 1});
  kernel.memory = {{0x1000, std::string(PATH_MAX, 'x') + '\0'}};
  EXPECT_EQ(code(copy(0x1000).error()), ENAMETOOLONG);
  kernel.memory = {{0x1000, "no end"}};
  EXPECT_EQ(code(copy(0x1000).error()), EFAULT);
  EXPECT_EQ(code(copy(0).error()), EFAULT);
}

TEST(Descriptor, IsTakenFromTheThreadOfTheCallerOnly) {
  FakeKernel kernel;
  UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
  auto take = [&] {
    auto caller = Callers(kernel, kernel, root.get()).prove(call_of(SYS_connect));
    if (!caller) return code(caller.error());
    auto got = caller->take_descriptor(3);
    return got ? 0 : code(got.error());
  };
  EXPECT_EQ(take(), 0);
  kernel.task = -ESRCH;
  EXPECT_EQ(take(), kRefused);
  kernel.task = 0;
  kernel.taken = -EBADF;
  EXPECT_EQ(take(), EBADF);
  kernel.taken = -EPERM;
  EXPECT_EQ(take(), kRefused);
  kernel.taken = 0;
  kernel.thread_exact = false;
  kernel.descriptor_name = "socket:[1]";
  EXPECT_EQ(take(), kRefused) << "the process has another file there than the thread";
}

// --- handlers

struct NoContext final : CallContext {
  bool may_wait_for(uint64_t) override {
    ++waits;
    return there;
  }
  bool will_wait() override {
    ++waits;
    return there;
  }
  bool there = true;
  [[nodiscard]] int interrupted() override { return error; }
  int waits = 0;
  int error = 0;
};

struct Scene {
  Place place;
  FakeKernel kernel;
  std::vector<std::byte> block;
  policy::Layers layers;
  UniqueFd root{::open("/", O_PATH | O_CLOEXEC)};
  Callers callers{kernel, kernel, root.get()};
  std::optional<Identities> identities;
  Approvals approvals{policy::kDefaultApproval};
  std::optional<SocketHandler> sockets;
  std::optional<RenameLinkHandler> names;
  NoContext context;

  struct Rule {
    std::string path;
    Verdict decision;
    uint8_t operations = 7;
  };
  void rules(const std::vector<Rule>& rules, policy::Mode mode = policy::Mode::enforce) {
    policy::Policy policy;
    policy.name = "unit";
    policy.mode = mode;
    auto& listed = policy.of(policy::Class::unix_socket).rules.emplace();
    for (const Rule& rule : rules) {
      const std::string name = "r" + std::to_string(listed.size());
      listed.push_back({.name = name,
                        .patterns = policy::patterns({rule.path}),
                        .operations = rule.operations,
                        .decision = rule.decision,
                        .guidance = "Why " + name,
                        .line = 1});
    }
    block = policy::compile_rules(policy, {}).value();
    layers.add(policy::RuleSet::open(block).value());
    identities.emplace(kernel, root.get(), layers);
    const SessionObjects session = objects();
    sockets.emplace(session);
    names.emplace(session);
  }
  SessionObjects objects() {
    return {.kernel = kernel, .layers = layers, .root = root.get(), .identities = *identities, .approvals = approvals};
  }
  Outcome call(int number, const std::string& address) {
    kernel.memory = {{0x1000, address}};
    Notification notification{.id = 7, .tid = 100, .number = number, .arguments = {3, 0x1000, address.size()}};
    return callers.serve(notification, *sockets, context);
  }
  Outcome move(const std::string& from, const std::string& to, int number = SYS_rename) {
    kernel.memory = {{0x1000, from + '\0'}, {0x3000, to + '\0'}};
    Notification notification{.id = 7, .tid = 100, .number = number, .arguments = {0x1000, 0x3000}};
    return callers.serve(notification, *names, context);
  }
};

TEST(Connect, AllowedIsDoneOnTheObject) {
  Scene s;
  s.rules({{s.place / "**", Verdict::allow}});
  auto outcome = s.call(SYS_connect, unix_bytes(s.place.socket("s")));
  EXPECT_EQ(outcome.answer.error, 0);
  EXPECT_FALSE(outcome.answer.run_natively);
  EXPECT_EQ(s.kernel.done, std::vector<std::string>{"connect_object"});
  EXPECT_EQ(s.context.waits, 1);
  ASSERT_TRUE(outcome.record);
  EXPECT_TRUE(outcome.record->done);
  EXPECT_EQ(outcome.record->path, s.place / "s");
}

TEST(Connect, DeniedIsNotDone) {
  Scene s;
  s.rules({});
  for (const std::string& address : {unix_bytes(s.place.socket("s")), unix_bytes(std::string("\0abstract", 9))}) {
    auto outcome = s.call(SYS_connect, address);
    EXPECT_EQ(outcome.answer.error, EACCES);
    ASSERT_TRUE(outcome.record);
    EXPECT_FALSE(outcome.record->done);
  }
  EXPECT_TRUE(s.kernel.done.empty());
}

uint64_t the_question(Approvals& approvals) {
  auto notices = approvals.take_notices();
  EXPECT_EQ(notices.size(), 1U);
  return notices.empty() ? 0 : notices.front().question;
}

TEST(Ask, WaitsAndIsDoneOnceAllowed) {
  Scene s;
  s.rules({{s.place / "**", Verdict::ask}, {"@a", Verdict::ask}});
  for (int number : {SYS_connect, SYS_bind}) {
    for (const std::string& address :
         {unix_bytes(number == SYS_bind ? s.place / "b" : s.place.socket("s")), unix_bytes(std::string("\0a", 2))}) {
      auto first = s.call(number, address);
      ASSERT_NE(first.question, 0U);
      EXPECT_EQ(first.answer.error, EACCES) << "what it gets if nobody allows it";
      ASSERT_TRUE(first.record);
      EXPECT_FALSE(first.record->done);
      auto second = s.call(number, address);
      EXPECT_EQ(second.question, first.question) << "one question for both";
      EXPECT_EQ(the_question(s.approvals), first.question);
      EXPECT_TRUE(s.kernel.done.empty());
      ASSERT_TRUE(s.approvals.answer(first.question, true, "uid 1"));
      (void)s.approvals.take_notices();
      s.kernel.on_operation = [&] {
        if (address[2] != '\0' && number == SYS_bind) s.place.socket("b");  // what the kernel would make
        return 0;
      };
      auto again = s.call(number, address);
      s.kernel.on_operation = [] { return 0; };
      EXPECT_EQ(again.question, 0U);
      ASSERT_TRUE(again.record);
      EXPECT_TRUE(again.record->done && again.record->approved);
      EXPECT_EQ(again.record->reason, "allowed by uid 1");
      EXPECT_EQ(again.record->decision.recorded, Verdict::ask);
      EXPECT_EQ(s.kernel.done.size(), 1U);
      s.kernel.done.clear();
    }
  }
}

TEST(Ask, ListenIsAskedByTheNameThatWasBound) {
  Scene s;
  s.rules({{s.place / "**", Verdict::ask, 4}, {s.place / "**", Verdict::allow}});
  s.kernel.on_operation = [&] {
    s.place.socket("b");
    return 0;
  };
  std::string address = unix_bytes(s.place / "b");
  EXPECT_TRUE(s.call(SYS_bind, address).record->done);
  s.kernel.on_operation = [] { return 0; };
  std::memcpy(&s.kernel.bound, address.data(), address.size());
  s.kernel.bound_length = static_cast<socklen_t>(address.size());
  auto outcome = s.call(SYS_listen, {});
  ASSERT_NE(outcome.question, 0U);
  EXPECT_EQ(outcome.record->path, s.place / "b");
  ASSERT_TRUE(s.approvals.answer(outcome.question, true, "x"));
  EXPECT_TRUE(s.call(SYS_listen, {}).record->done);
}

TEST(Ask, ARefusalIsRemembered) {
  Scene s;
  s.rules({{"@a", Verdict::ask}});
  std::string address = unix_bytes(std::string("\0a", 2));
  auto first = s.call(SYS_connect, address);
  ASSERT_TRUE(s.approvals.answer(first.question, false, "uid 1"));
  auto again = s.call(SYS_connect, address);
  EXPECT_EQ(again.question, 0U);
  EXPECT_EQ(again.answer.error, EACCES);
  EXPECT_EQ(again.record->reason, "denied by uid 1");
}

TEST(Ask, AnAnswerIsForOneObjectAndOneOperation) {
  Scene s;
  s.rules({{s.place / "**", Verdict::ask}});
  std::string path = s.place.socket("s");
  auto first = s.call(SYS_connect, unix_bytes(path));
  ASSERT_TRUE(s.approvals.answer(first.question, true, "x"));
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(path)).question, 0U);
  EXPECT_NE(s.call(SYS_connect, unix_bytes(s.place.socket("other"))).question, 0U) << "another name";
  std::filesystem::remove(path);
  s.place.socket("s");
  EXPECT_NE(s.call(SYS_connect, unix_bytes(path)).question, 0U) << "another socket by that name";
  EXPECT_NE(s.call(SYS_bind, unix_bytes(s.place / "t")).question, 0U);
}

TEST(Ask, AnotherNameOfTheObjectIsAskedToo) {
  Scene s;
  std::string path = s.place.socket("asked");
  s.rules({{path, Verdict::ask}, {s.place / "**", Verdict::allow}});
  std::filesystem::create_hard_link(path, s.place / "link");
  std::filesystem::create_symlink(path, s.place / "symlink");
  for (const char* name : {"link", "symlink", "asked", "../" /* and back */}) {
    std::string other = s.place / name;
    if (other.ends_with("../")) other += path.substr(5);
    auto outcome = s.call(SYS_connect, unix_bytes(other));
    EXPECT_NE(outcome.question, 0U) << other;
    ASSERT_TRUE(outcome.record);
    EXPECT_EQ(outcome.record->decision.rule, 0) << other;
  }
  EXPECT_TRUE(s.kernel.done.empty());
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place.socket("open"))).question, 0U);
}

// A second name that only an administrator's later link gives it: known by a look at the literal names again.
TEST(Ask, WhatALayerOnlyRecordsHidesNoQuestionAndNoDenial) {
  for (Verdict verdict : {Verdict::ask, Verdict::deny}) {
    Scene s;
    std::string path = s.place.socket("s");
    s.rules({{path, Verdict::deny}, {s.place / "link", Verdict::deny}}, policy::Mode::audit);
    std::vector<std::byte> first = std::move(s.block);
    s.rules({{path, verdict}, {s.place / "**", Verdict::allow}});
    std::filesystem::create_hard_link(path, s.place / "link");
    auto outcome = s.call(SYS_connect, unix_bytes(s.place / "link"));
    EXPECT_EQ(outcome.answer.error, EACCES);
    EXPECT_EQ(outcome.question != 0, verdict == Verdict::ask);
    EXPECT_TRUE(s.kernel.done.empty());
  }
}

TEST(Ask, AuditModeNeverAsks) {
  Scene s;
  s.rules({{s.place / "**", Verdict::ask}}, policy::Mode::audit);
  auto outcome = s.call(SYS_connect, unix_bytes(s.place.socket("s")));
  EXPECT_EQ(outcome.question, 0U);
  ASSERT_TRUE(outcome.record);
  EXPECT_TRUE(outcome.record->done);
  EXPECT_FALSE(outcome.record->approved);
  EXPECT_EQ(outcome.record->decision.recorded, Verdict::ask);
  EXPECT_TRUE(s.approvals.take_notices().empty());
  Denials denials(s.layers);
  denials.count(*outcome.record);
  EXPECT_EQ(denials.summary().audited, 1U);
  EXPECT_EQ(denials.summary().denials.at(0).reason, "somebody would have been asked");
}

TEST(Ask, WhatWasAllowedCountsAsAllowed) {
  Scene s;
  s.rules({{"@a", Verdict::ask}});
  std::string address = unix_bytes(std::string("\0a", 2));
  ASSERT_TRUE(s.approvals.answer(s.call(SYS_connect, address).question, true, "x"));
  Denials denials(s.layers);
  denials.count(*s.call(SYS_connect, address).record);
  EXPECT_EQ(denials.summary().allowed, 1U);
  EXPECT_TRUE(denials.summary().denials.empty());
}

TEST(Ask, MovesBetweenPlaces) {
  struct Move {
    Verdict from, to;
    bool refused;
  };
  const Move moves[] = {{Verdict::deny, Verdict::ask, true},   {Verdict::ask, Verdict::allow, true},
                        {Verdict::ask, Verdict::audit, true},  {Verdict::ask, Verdict::deny, false},
                        {Verdict::allow, Verdict::ask, false}, {Verdict::ask, Verdict::ask, false},
                        {Verdict::deny, Verdict::deny, false}};
  for (const Move& move : moves) {
    for (bool carried : {false, true}) {
      Scene s;
      std::filesystem::create_directory(s.place / "from");
      std::filesystem::create_directory(s.place / "to");
      s.rules({{s.place / "from/**", move.from, 5}, {s.place / "to/**", move.to, 5}});
      if (carried) std::filesystem::create_directory(s.place / "from/d");
      s.place.socket(carried ? "from/d/s" : "from/s");
      auto outcome = s.move(s.place / (carried ? "from/d" : "from/s"), s.place / (carried ? "to/d" : "to/s"));
      EXPECT_EQ(outcome.answer.error == EACCES, move.refused)
          << to_string(move.from) << " to " << to_string(move.to) << (carried ? " in a directory" : "");
      EXPECT_EQ(s.kernel.done.empty(), move.refused);
    }
  }
  // What was bound where nobody was asked (or about another name) does not get a name that nobody was asked about.
  for (Verdict from : {Verdict::allow, Verdict::ask}) {
    Scene s;
    s.rules({{s.place / "a*", from, 2}, {s.place / "b*", Verdict::ask, 2}});
    auto outcome = s.move(s.place.socket("a"), s.place / "b");
    EXPECT_EQ(outcome.answer.error, EACCES);
    EXPECT_EQ(outcome.question, 0U) << "a move is not asked about";
  }
}

TEST(Connect, NothingIsDoneForACallThatIsOver) {
  Scene s;
  s.rules({{"/**", Verdict::allow}, {"@**", Verdict::allow}});
  std::string path = s.place.socket("s");
  s.kernel.is_valid = [](uint64_t) { return false; };
  const std::string addresses[] = {unix_bytes(path), unix_bytes(std::string("\0abstract", 9)), unix_bytes("")};
  for (int number : {SYS_connect, SYS_bind, SYS_listen}) {
    for (const std::string& address : addresses) {
      s.kernel.bound_length = static_cast<socklen_t>(address.size());
      std::memcpy(&s.kernel.bound, address.data(), address.size());
      EXPECT_NE(s.call(number, address).answer.error, 0);
    }
    s.kernel.domain = AF_INET;
    EXPECT_NE(s.call(number, address_bytes(AF_INET, std::string(14, '\0'))).answer.error, 0);
    s.kernel.domain = AF_UNIX;
  }
  s.move(path, s.place / "t");
  s.move(path, s.place / "t", SYS_link);
  EXPECT_TRUE(s.kernel.done.empty()) << s.kernel.done.front();
}

// What was refused at the deadline must not be carried out when the thread comes back.
TEST(Connect, NothingIsDoneForACallThatWasRefusedMeanwhile) {
  Scene s;
  s.rules({{"/**", Verdict::allow}, {"@**", Verdict::allow}});
  s.context.there = false;
  auto done_by = [&](const Outcome& outcome) {
    EXPECT_NE(outcome.answer.error, 0);
    EXPECT_FALSE(outcome.record && outcome.record->done);
    return std::exchange(s.kernel.done, {}).size();
  };
  const std::string there = s.place.socket("s"), free = s.place / "free";
  const std::string no_family = address_bytes(AF_UNSPEC, std::string(14, '\0'));
  const std::string netlink = address_bytes(AF_NETLINK, std::string(10, '\0'));
  for (const std::string& address : {unix_bytes(there), unix_bytes(std::string("\0a", 2)), no_family})
    EXPECT_EQ(done_by(s.call(SYS_connect, address)), 0U);
  for (const std::string& address : {unix_bytes(free), unix_bytes(std::string("\0a", 2)), unix_bytes("")})
    EXPECT_EQ(done_by(s.call(SYS_bind, address)), 0U);
  for (const std::string& address : {unix_bytes(there), unix_bytes(std::string("\0a", 2))}) {
    std::memcpy(&s.kernel.bound, address.data(), address.size());
    s.kernel.bound_length = static_cast<socklen_t>(address.size());
    EXPECT_EQ(done_by(s.call(SYS_listen, {})), 0U);
  }
  for (int domain : {AF_INET, AF_NETLINK}) {
    s.kernel.domain = domain;
    s.kernel.bound = {};
    s.kernel.bound.ss_family = static_cast<sa_family_t>(domain);
    s.kernel.bound_length = 16;
    for (int number : {SYS_connect, SYS_bind, SYS_listen}) EXPECT_EQ(done_by(s.call(number, netlink)), 0U) << number;
  }
  s.kernel.domain = AF_UNIX;
  for (int number : {SYS_rename, SYS_link}) EXPECT_EQ(done_by(s.move(there, free, number)), 0U) << number;
  EXPECT_EQ(done_by(s.move("target", free, SYS_symlink)), 0U);
  // A bind that was given up is none on its way: what the socket says of itself counts again.
  const std::string address = unix_bytes(there);
  std::memcpy(&s.kernel.bound, address.data(), address.size());
  s.kernel.bound_length = static_cast<socklen_t>(address.size());
  s.context.there = true;
  EXPECT_EQ(s.call(SYS_listen, {}).answer.error, 0);
}

TEST(Connect, UnixSocketWithWhatIsNoName) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  EXPECT_EQ(s.call(SYS_connect, unix_bytes("")).answer.error, EINVAL);
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(std::string(109, 'x'))).answer.error, EINVAL);
  EXPECT_EQ(s.call(SYS_bind, address_bytes(AF_INET, std::string(14, '\0'))).answer.error, EINVAL);
  EXPECT_TRUE(s.kernel.done.empty());
}

TEST(Connect, AWaitThatIsInterruptedForNothingGoesOn) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  int interruptions = 3;
  s.kernel.on_operation = [&] { return interruptions-- > 0 ? -EINTR : 0; };
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place.socket("s"))).answer.error, 0);
  EXPECT_EQ(s.kernel.done.size(), 4U);
  interruptions = 3;
  s.context.error = EINTR;
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "s")).answer.error, EINTR);
  EXPECT_EQ(s.kernel.done.size(), 5U);
}

TEST(Connect, AWaitThatIsRefusedIsRecordedAsThat) {
  for (int domain : {AF_UNIX, AF_INET}) {
    Scene s;
    s.rules({{"/**", Verdict::allow}});
    s.kernel.domain = domain;
    s.context.error = EAGAIN;
    s.kernel.on_operation = [] { return -EINTR; };
    auto refused = s.call(SYS_connect, unix_bytes(s.place.socket("s")));
    EXPECT_EQ(refused.answer.error, EAGAIN);
    ASSERT_TRUE(refused.record.has_value());
    EXPECT_EQ(refused.record->operation, "connect");
    EXPECT_EQ(refused.record->reason, "too many calls wait at once");
    EXPECT_EQ(refused.record->exe, "/exe");
    EXPECT_FALSE(refused.record->done);
    EXPECT_EQ(refused.record->decision.rule, policy::Decision{}.rule);
    // The same from the kernel is what the program would have got without us.
    s.kernel.on_operation = [] { return -EAGAIN; };
    auto full = s.call(SYS_connect, unix_bytes(s.place / "s"));
    EXPECT_EQ(full.answer.error, EAGAIN);
    EXPECT_EQ(full.record.has_value(), domain == AF_UNIX);
    if (full.record) {
      EXPECT_TRUE(full.record->done);
      EXPECT_EQ(full.record->reason, "");
    }
  }
}

TEST(Connect, ProtectedPlacesSayNothingOfThemselves) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  auto outcome = s.call(SYS_connect, unix_bytes("/run/wrapd/no-such-socket"));
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_EQ(outcome.record->reason, "protected");
  // The refusal is ours: no policy is blamed for it.
  EXPECT_EQ(outcome.record->decision.layer, std::nullopt);
  const audit::Event event = event_of(s.layers, {.record = *outcome.record});
  EXPECT_EQ(event.policy + event.mode + event.rule, "");
  auto unlisted = s.call(SYS_connect, unix_bytes(std::string("\0n", 2)));
  EXPECT_EQ(unlisted.record->decision.layer, 0);
  EXPECT_EQ(event_of(s.layers, {.record = *unlisted.record}).policy, "unit");
  EXPECT_TRUE(is_protected("/run/wrapd"));
  EXPECT_TRUE(is_protected("/etc/wrapd/policies/x"));
  EXPECT_FALSE(is_protected("/run/wrapdog"));
}

TEST(Bind, TakesTheTargetsUmask) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  s.kernel.status.umask = 0177;
  s.kernel.on_operation = [&] {
    if (!std::filesystem::exists(s.place / "new")) s.place.socket("new");
    return 0;
  };
  EXPECT_EQ(s.call(SYS_bind, unix_bytes(s.place / "new")).answer.error, 0);
  EXPECT_EQ(s.kernel.last_umask, 0177U);
}

TEST(Bind, ASocketThatIsNotWhereItWasJudgedNeverListens) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  // The bind succeeds and leaves nothing in the judged directory.
  auto outcome = s.call(SYS_bind, unix_bytes(s.place / "s"));
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_EQ(outcome.record->reason, "race");
  std::string name = unix_bytes(s.place.socket("decoy"));
  std::memcpy(&s.kernel.bound, name.data(), name.size());
  s.kernel.bound_length = static_cast<socklen_t>(name.size());
  outcome = s.call(SYS_listen, "");
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_EQ(s.kernel.done, std::vector<std::string>{"bind_path"});
}

TEST(Bind, AListenBetweenBindAndItsOutcomeIsRefused) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  std::string name = unix_bytes(s.place / "s");
  std::memcpy(&s.kernel.bound, name.data(), name.size());
  s.kernel.bound_length = static_cast<socklen_t>(name.size());
  int listened = -1;
  s.kernel.on_operation = [&] {
    if (listened == -1) {
      listened = 0;
      s.place.socket("s");
      listened =
          s.callers.serve({.id = 8, .tid = 101, .number = SYS_listen, .arguments = {3, 1}}, *s.sockets, s.context)
              .answer.error;
    }
    return 0;
  };
  EXPECT_EQ(s.call(SYS_bind, name).answer.error, 0);
  EXPECT_EQ(listened, EACCES);
  EXPECT_EQ(s.call(SYS_listen, "").answer.error, 0) << "afterwards it may";
}

TEST(Bind, AFailureLeavesWhatWasKnown) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  s.kernel.on_operation = [&] {
    s.place.socket("s");
    return 0;
  };
  std::string name = unix_bytes(s.place / "s");
  EXPECT_EQ(s.call(SYS_bind, name).answer.error, 0);
  s.kernel.on_operation = [] { return -EINVAL; };
  EXPECT_EQ(s.call(SYS_bind, unix_bytes(s.place / "t")).answer.error, EINVAL);
  s.kernel.on_operation = [] { return 0; };
  std::memcpy(&s.kernel.bound, name.data(), name.size());
  s.kernel.bound_length = static_cast<socklen_t>(name.size());
  auto outcome = s.call(SYS_listen, "");
  EXPECT_EQ(outcome.answer.error, 0);
  EXPECT_EQ(outcome.record->path, s.place / "s");
}

TEST(Datagram, IsRefusedUnlessNothingIsEnforced) {
  Scene enforcing, auditing;
  enforcing.rules({{"/**", Verdict::allow}});
  auditing.rules({}, policy::Mode::audit);
  for (int number : {SYS_socket, SYS_socketpair}) {
    EXPECT_EQ(enforcing.call(number, "").answer.error, EACCES);
    EXPECT_FALSE(enforcing.call(number, "").answer.run_natively);
    EXPECT_TRUE(auditing.call(number, "").answer.run_natively);
  }
}

TEST(Handlers, UnknownCallsFail) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  EXPECT_EQ(s.call(SYS_accept, "").answer.error, ENOSYS);
  EXPECT_EQ(s.callers.serve(call_of(SYS_unlink), *s.names, s.context).answer.error, ENOSYS);
}

// --- the gate

// Has a call judged, and leaves it without a word at some step.
class Forgets final : public Handler {
 public:
  Forgets(Scene& scene, bool acts) : gate(scene.objects()), acts_(acts) {}
  Outcome handle(const Caller& call, CallContext& context) override {
    GatedCall gated(gate, call, context);
    gated.about("/s");
    EXPECT_FALSE(gated.judge(policy::Operation::connect));
    if (acts_) gated.acts();
    return {};
  }
  Gate gate;

 private:
  bool acts_;
};

TEST(Gate, ARecordThatWasBegunIsNotLost) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  for (bool acts : {false, true}) {
    Forgets handler(s, acts);
    auto outcome = s.callers.serve(call_of(SYS_connect), handler, s.context);
    ASSERT_TRUE(outcome.record);
    EXPECT_EQ(outcome.record->path, "/s");
    EXPECT_EQ(outcome.record->reason, "the supervisor did not finish this call");
    EXPECT_EQ(outcome.record->exe, "/exe");
    EXPECT_EQ(outcome.record->done, acts);
    EXPECT_EQ(outcome.answer.error, acts ? 0 : EACCES) << "nothing that was not done is said to be";
  }
}

// --- identities

TEST(Identity, HardLinkOfADeniedName) {
  Scene s;
  std::string denied = s.place.socket("denied");
  std::filesystem::create_hard_link(denied, s.place / "other");
  s.rules({{denied, Verdict::deny}, {"/**", Verdict::allow}});
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "other")).answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
}

TEST(Identity, DeniedNameThatCameLater) {
  Scene s;
  s.rules({{s.place / "denied", Verdict::deny}, {"/**", Verdict::allow}});
  std::filesystem::create_hard_link(s.place.socket("denied"), s.place / "other");
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "other")).answer.error, EACCES);
}

TEST(Identity, MadeAgainAndReachedThroughALinkInTheWay) {
  Scene s;
  std::filesystem::create_directory(s.place / "kept");
  std::string denied = s.place.socket("kept/s");
  s.rules({{denied, Verdict::deny}, {"/**", Verdict::allow}});
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(denied)).answer.error, EACCES);
  std::filesystem::remove(denied);
  std::filesystem::rename(s.place / "kept", s.place / "other");
  std::filesystem::create_symlink("other", s.place / "kept");
  std::string again = s.place.socket("other/s");
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(again)).answer.error, EACCES);
  // Once known it stays so, wherever the link leads.
  std::filesystem::remove(s.place / "kept");
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(again)).answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
}

TEST(Identity, ANumberThatWasUsedAgainIsNotTheDeniedOne) {
  Scene s;
  std::string denied = s.place.socket("denied");
  struct stat was {};
  ASSERT_EQ(::stat(denied.c_str(), &was), 0);
  s.rules({{denied, Verdict::deny}, {"/**", Verdict::allow}});
  std::filesystem::remove(denied);
  for (int i = 0; i < 2000; ++i) {
    std::string other = s.place.socket("o" + std::to_string(i));
    struct stat st {};
    ASSERT_EQ(::stat(other.c_str(), &st), 0);
    if (st.st_ino != was.st_ino) continue;
    EXPECT_EQ(s.call(SYS_connect, unix_bytes(other)).answer.error, 0);
    return;
  }
  GTEST_SKIP() << "this file system uses no number twice";
}

TEST(Identity, AnEarlierRuleThatAllowsTheNameWins) {
  Scene s;
  std::string path = s.place.socket("s");
  s.rules({{path, Verdict::allow}, {path, Verdict::deny}});
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(path)).answer.error, 0);
}

TEST(Identity, AnAuditingLayerDeniesNothing) {
  Scene s;
  std::string path = s.place.socket("s");
  s.rules({{path, Verdict::deny}}, policy::Mode::audit);
  auto outcome = s.call(SYS_connect, unix_bytes(path));
  EXPECT_EQ(outcome.answer.error, 0);
  EXPECT_EQ(outcome.record->decision.recorded, Verdict::deny);
}

// Errors of lookups as a task meets that is not root.
void as_nobody(const std::function<void()>& what) {
  ASSERT_EQ(::seteuid(65534), 0);
  what();
  ASSERT_EQ(::seteuid(0), 0);
}

// The program closes its directory, and what was made and linked there before it did is not seen.
TEST(Identity, ADirectoryThatItsOwnerClosedHidesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another";
  for (bool at_the_start : {false, true}) {
    Scene s;
    const std::string kept = s.place / "kept", other = s.place.socket("other");
    std::filesystem::create_directory(kept);
    for (const std::string& path : {s.place / "", kept}) ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
    std::filesystem::create_hard_link(other, kept + "/s");
    ASSERT_EQ(::chmod(other.c_str(), 0777), 0);
    if (at_the_start) {
      ASSERT_EQ(::chmod(kept.c_str(), 0), 0);
    }
    as_nobody([&] { s.rules({{kept + "/s", Verdict::deny}, {"/**", Verdict::allow}}); });
    std::filesystem::create_hard_link(s.place.socket("new"), kept + "/s2");
    std::filesystem::rename(kept + "/s2", kept + "/s");
    ASSERT_EQ(::chmod(kept.c_str(), 0), 0);
    as_nobody([&] {
      auto outcome = s.call(SYS_connect, unix_bytes(s.place / "new"));
      EXPECT_EQ(outcome.answer.error, EACCES);
      EXPECT_EQ(outcome.record->reason, "a denied name cannot be looked up, and may lead here");
      EXPECT_EQ(outcome.record->decision.rule, 0);
    });
    EXPECT_TRUE(s.kernel.done.empty());
    // Open again, it says what is there.
    ASSERT_EQ(::chmod(kept.c_str(), 0700), 0);
    const std::string free = s.place.socket("free");
    as_nobody([&] {
      EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "new")).answer.error, EACCES);
      EXPECT_EQ(s.call(SYS_connect, unix_bytes(free)).answer.error, 0);
    });
  }
}

// Others' closed directories are nothing that the program could have closed.
TEST(Identity, ADirectoryThatOthersClosedKeepsNobodyFromOtherSockets) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another";
  Scene s;
  const std::string kept = s.place / "kept";
  std::filesystem::create_directories(kept + "/deep");
  ASSERT_EQ(::chmod((s.place / "").c_str(), 0755), 0);
  const std::string old = s.place.socket("old");
  ASSERT_EQ(::chmod(kept.c_str(), 0), 0);
  as_nobody([&] {
    s.rules({{kept + "/deep/s", Verdict::deny}, {kept + "/s", Verdict::deny}, {"/**", Verdict::allow}});
  });
  const std::string fresh = s.place.socket("fresh");
  as_nobody([&] {
    EXPECT_EQ(s.call(SYS_connect, unix_bytes(old)).answer.error, 0);
    EXPECT_EQ(s.call(SYS_connect, unix_bytes(fresh)).answer.error, 0);
  });
}

// Names that cannot be looked up for another reason: only what is older than the last look is known.
TEST(Identity, AfterAnotherErrorWhatIsNewMayBeTheDeniedOne) {
  Scene s;
  const std::string old = s.place.socket("old");
  std::filesystem::create_directory(s.place / "kept");
  struct stat made {};
  ASSERT_EQ(::stat(old.c_str(), &made), 0);
  for (timespec now{}; now.tv_sec < made.st_ctim.tv_sec ||
                       (now.tv_sec == made.st_ctim.tv_sec && now.tv_nsec <= made.st_ctim.tv_nsec);) {
    ::usleep(1000);
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  }
  s.rules({{s.place / "kept/s", Verdict::deny}, {"/**", Verdict::allow}});
  std::filesystem::remove(s.place / "kept");
  std::filesystem::create_symlink("kept", s.place / "kept");  // ELOOP
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(old)).answer.error, 0);
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place.socket("new"))).answer.error, EACCES);
}

// However many sockets come and go at a denied name, one that was there is not forgotten.
TEST(Identity, NoneIsForgottenForManyOthers) {
  Scene s;
  const std::string first = s.place.socket("denied"), other = s.place.socket("other");
  std::filesystem::create_hard_link(first, s.place / "first");
  s.rules({{s.place / "denied", Verdict::deny}, {"/**", Verdict::allow}});
  s.identities.emplace(s.kernel, s.root.get(), s.layers, 8);
  std::vector<std::string> held;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(s.call(SYS_connect, unix_bytes(other)).answer.error, 0) << i;
    held.push_back(s.place / ("held" + std::to_string(i)));
    std::filesystem::rename(s.place / "denied", held.back());  // its number stays its own
    (void)s.place.socket("denied");
    EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "denied")).answer.error, EACCES);
    (void)s.call(SYS_connect, unix_bytes(s.place / "first"));
  }
  for (const std::string& path : held) EXPECT_EQ(s.call(SYS_connect, unix_bytes(path)).answer.error, EACCES) << path;
  // No room for another one: nothing can be told from it any more.
  std::filesystem::rename(s.place / "denied", s.place / "last");
  (void)s.place.socket("denied");
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "denied")).answer.error, EACCES);
  std::filesystem::rename(s.place / "denied", s.place / "more");
  (void)s.place.socket("denied");
  EXPECT_EQ(s.call(SYS_connect, unix_bytes(s.place / "first")).answer.error, EACCES);
  auto outcome = s.call(SYS_connect, unix_bytes(other));
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_EQ(outcome.record->reason, "too many sockets stood at denied names");
}

// --- names

TEST(Names, WhatNobodyRulesIsDone) {
  Scene s;
  s.rules({{s.place / "open/**", Verdict::allow}});
  std::filesystem::create_directory(s.place / "open");
  std::filesystem::create_directory(s.place / "tree");
  UniqueFd(::open((s.place / "file").c_str(), O_CREAT | O_CLOEXEC, 0600)).reset();
  EXPECT_EQ(s.move(s.place / "file", s.place / "open/file").answer.error, 0);
  EXPECT_EQ(s.move(s.place / "tree", s.place / "open/tree").answer.error, 0);
  EXPECT_EQ(s.move(s.place.socket("s"), s.place / "elsewhere").answer.error, 0);
  EXPECT_EQ(s.kernel.done.size(), 3U);
}

TEST(Names, SocketsAreNotCarriedIntoReach) {
  Scene s;
  s.rules({{s.place / "open/**", Verdict::allow}});
  for (const char* name : {"open", "tree", "tree/deep"}) std::filesystem::create_directory(s.place / name);
  std::string deep = s.place.socket("tree/deep/s");
  EXPECT_EQ(s.move(deep, s.place / "open/s").answer.error, EACCES);
  EXPECT_EQ(s.move(deep, s.place / "open/s", SYS_link).answer.error, EACCES);
  EXPECT_EQ(s.move(s.place / "tree", s.place / "open/tree").answer.error, EACCES);
  EXPECT_EQ(s.move(s.place / "tree/", s.place / "open/tree/").answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
}

TEST(Names, DirectoriesAboveADeniedNameAreKept) {
  Scene s;
  s.rules({{s.place / "a/b/s", Verdict::deny}, {s.place / "c/*", Verdict::ask}, {"/**", Verdict::allow}});
  std::filesystem::create_directory(s.place / "a");
  std::filesystem::create_directory(s.place / "other");
  std::filesystem::create_symlink("other", s.place / "link");
  for (const char* name : {"a", "a/", "a/b"}) {
    if (std::string(name) != "a/b") {
      EXPECT_EQ(s.move(s.place / name, s.place / "x").answer.error, EACCES) << name;
    }
    EXPECT_EQ(s.move(s.place / "other", s.place / name).answer.error, EACCES) << name;
    EXPECT_EQ(s.move("other", s.place / name, SYS_symlink).answer.error, EACCES) << name;
    EXPECT_EQ(s.move(s.place / "link", s.place / name, SYS_link).answer.error, EACCES) << name;
  }
  EXPECT_EQ(s.move("other", s.place / "c", SYS_symlink).answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
  EXPECT_EQ(s.move("other", s.place / "a/b/s", SYS_symlink).answer.error, ENOENT);
  EXPECT_EQ(s.move("other", s.place / "a/d", SYS_symlink).answer.error, 0);
  EXPECT_EQ(s.move(s.place / "other", s.place / "a/d").answer.error, 0);
  EXPECT_EQ(s.kernel.done.size(), 2U);
}

// A directory that does not answer holds up who looks there, and nobody else.
TEST(Names, OthersGoOnWhileOneLooks) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  for (const char* name : {"dead", "alive", "other"})
    UniqueFd(::open((s.place / name).c_str(), O_CREAT | O_CLOEXEC, 0600)).reset();
  std::promise<void> looking, answers;
  std::atomic<bool> first{true};
  s.kernel.on_open = [&](const char* path) {
    if (std::string_view(path) != "dead" || !first.exchange(false)) return;
    looking.set_value();
    answers.get_future().wait();
  };
  s.kernel.memory = {{0x1000, s.place / "dead" + '\0'},
                     {0x3000, s.place / "dead2" + '\0'},
                     {0x5000, s.place / "alive" + '\0'},
                     {0x7000, s.place / "alive2" + '\0'},
                     {0x9000, unix_bytes(s.place / "new")}};
  auto call = [&](Handler& handler, int number, uint64_t a, uint64_t b, uint64_t c = 0) {
    return s.callers.serve({.id = 7, .tid = 100, .number = number, .arguments = {a, b, c}}, handler, s.context)
        .answer.error;
  };
  auto held_up = std::async(std::launch::async, [&] { return call(*s.names, SYS_rename, 0x1000, 0x3000); });
  looking.get_future().wait();
  auto others = std::async(std::launch::async, [&] {
    return std::array{call(*s.names, SYS_rename, 0x5000, 0x7000), call(*s.names, SYS_link, 0x5000, 0x7000),
                      call(*s.names, SYS_symlink, 0x5000, 0x7000),
                      call(*s.sockets, SYS_bind, 3, 0x9000, s.kernel.memory[0x9000].size())};
  });
  EXPECT_EQ(others.wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_EQ(s.kernel.done.size(), 4U);
  answers.set_value();
  (void)others.get();
  EXPECT_EQ(held_up.get(), 0);
}

// A socket comes into a directory after it was looked through, and before it is carried into reach.
TEST(Names, AreLookedAtAgainIfOthersWereMovedMeanwhile) {
  Scene s;
  s.rules({{s.place / "open/**", Verdict::allow}});
  for (const char* name : {"open", "tree"}) std::filesystem::create_directory(s.place / name);
  const std::string socket = s.place.socket("s"), inside = s.place / "tree/s";
  bool looked_through = false;
  s.kernel.is_valid = [&](uint64_t) {
    if (s.kernel.opened["."] == 0 || std::exchange(looked_through, true)) return true;
    s.kernel.memory[0x5000] = socket + '\0';
    s.kernel.memory[0x7000] = inside + '\0';
    s.kernel.on_operation = [&] { return ::rename(socket.c_str(), inside.c_str()); };
    NoContext context;
    Notification other{.id = 8, .tid = 101, .number = SYS_rename, .arguments = {0x5000, 0x7000}};
    EXPECT_EQ(s.callers.serve(other, *s.names, context).answer.error, 0);
    s.kernel.on_operation = [] { return 0; };
    return true;
  };
  EXPECT_EQ(s.move(s.place / "tree", s.place / "open/tree").answer.error, EACCES);
  EXPECT_TRUE(looked_through);
  EXPECT_EQ(s.kernel.done.size(), 1U);
}

// Nothing comes to stand at a denied name, but for a socket that may be bound there.
TEST(Names, ADeniedNameIsNotMadeALink) {
  Scene s;
  const std::string kept = s.place / "kept", half = s.place / "half", open = s.place / "open";
  s.rules({{open, Verdict::allow},
           {kept, Verdict::deny},
           {half, Verdict::deny, 1},  // connect
           {open, Verdict::deny},
           {"/**", Verdict::allow}});
  std::filesystem::create_symlink("other", s.place / "link");
  std::filesystem::create_directory(s.place / "directory");
  const std::string socket = s.place.socket("other");
  for (const std::string& name : {kept, half}) {
    EXPECT_EQ(s.move("other", name, SYS_symlink).answer.error, EACCES) << name;
    EXPECT_EQ(s.move(s.place / "link", name, SYS_link).answer.error, EACCES) << name;
    EXPECT_EQ(s.move(s.place / "link", name).answer.error, EACCES) << name;
    EXPECT_EQ(s.move(s.place / "directory", name).answer.error, EACCES) << name;
  }
  EXPECT_EQ(s.move(socket, kept, SYS_link).answer.error, EACCES);
  EXPECT_EQ(s.move(socket, kept).answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
  EXPECT_EQ(s.move(socket, half, SYS_link).answer.error, 0);
  EXPECT_EQ(s.move(socket, half).answer.error, 0);
  EXPECT_EQ(s.move("other", open, SYS_symlink).answer.error, 0);
  // Out of the way is no danger.
  std::filesystem::create_symlink("other", kept);
  EXPECT_EQ(s.move(kept, s.place / "away").answer.error, 0);
  EXPECT_EQ(s.kernel.done.size(), 4U);
}

TEST(Names, ProtectedPlaces) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  UniqueFd(::open((s.place / "file").c_str(), O_CREAT | O_CLOEXEC, 0600)).reset();
  auto outcome = s.move(s.place / "file", "/etc/wrapd");
  EXPECT_EQ(outcome.answer.error, EACCES);
  EXPECT_TRUE(s.kernel.done.empty());
}

// --- what others are told

TEST(CallReport, LongNamesKeepTheirEndOnTheWayToWhoeverIsAsked) {
  const policy::Layers layers;
  for (const std::string& padding : {std::string(4000, 'x'), std::string(4000, '\x01'), std::string(1300, '\xff')}) {
    Record record{.operation = "connect", .path = "/tmp/" + padding + "/docker.sock", .exe = "/" + padding + "/curl"};
    auto report = wire::decode_supervisor_report(
        wire::encode(wire::SupervisorReport(wire::DenialReport{.call = call_report(layers, record, 1)})));
    ASSERT_TRUE(report) << report.error().message;
    const wire::CallReport& call = std::get<wire::DenialReport>(*report).call;
    EXPECT_TRUE(call.target.starts_with("/tmp/"));
    EXPECT_TRUE(call.target.ends_with("/docker.sock"));
    EXPECT_TRUE(call.exe.ends_with("/curl"));
    EXPECT_TRUE(printable(call.target).ends_with("/docker.sock")) << "what the bus says";
    EXPECT_EQ(call.target == record.path, padding[0] == 'x');
    Denials denials(layers);
    denials.count(record);
    EXPECT_EQ(denials.summary().denials.at(0).target, call.target);
  }
}

TEST(Report, ARefusalOfTheSupervisorNamesNoPolicy) {
  Scene s;
  s.rules({{"/**", Verdict::allow}});
  s.kernel.on_operation = [] { return -EINTR; };
  s.context.error = EAGAIN;
  const std::string path = s.place.socket("s");
  Record late{.operation = "connect", .reason = "no decision within the deadline"};
  for (const auto& outcome :
       {s.call(SYS_connect, unix_bytes(path)), s.call(SYS_connect, unix_bytes("/run/wrapd/x")), s.call(SYS_socket, ""),
        s.move(path, "/etc/wrapd"), Outcome{.answer = Answer::errno_of(EACCES), .record = late}}) {
    ASSERT_TRUE(outcome.record);
    const std::string why = outcome.record->reason;
    EXPECT_NE(why, "");
    EXPECT_EQ(call_report(s.layers, *outcome.record, 1).policy, "") << why;
    EXPECT_EQ(denial_line(s.layers, *outcome.record).policy, "") << why;
    EXPECT_EQ(denial_line(s.layers, *outcome.record).reason, why);
    const audit::Event event = event_of(s.layers, {.record = *outcome.record, .tid = 1, .error = EACCES, .time = {}});
    EXPECT_EQ(event.policy, "") << why;
    EXPECT_EQ(event.mode, "") << why;
    EXPECT_EQ(event.decision, "deny") << why;
    EXPECT_EQ(event.reason, why);
  }
  // What a layer decides without a rule is its own.
  s.context.error = 0;
  const auto denied = s.call(SYS_connect, unix_bytes(std::string("\0a", 2)));
  EXPECT_EQ(denial_line(s.layers, *denied.record).policy, "unit");
}

TEST(Report, TellsBothNamesOfARename) {
  Scene s;
  s.rules({{s.place / "open/**", Verdict::allow}});
  std::filesystem::create_directory(s.place / "open");
  const std::string from = s.place.socket("s");
  Denials denials(s.layers);
  for (const char* name : {"open/a", "open/b"}) {
    const std::string to = s.place / name;
    const auto outcome = s.move(from, to);
    ASSERT_TRUE(outcome.record);
    EXPECT_EQ(event_of(s.layers, {.record = *outcome.record, .tid = 1, .error = EACCES, .time = {}}).target, to);
    EXPECT_EQ(call_report(s.layers, *outcome.record, 1).second, to);
    EXPECT_EQ(denial_line(s.layers, *outcome.record).target, from);
    EXPECT_EQ(denial_line(s.layers, *outcome.record).second, to);
    denials.count(*outcome.record);
  }
  EXPECT_EQ(denials.summary().denials.size(), 2U) << "they lead to different names";
}

// --- denials

TEST(Denials, NameTheRuleThatAskedAndNoneThatWouldHaveAllowed) {
  Scene s;
  s.rules({{"@asked", Verdict::ask}, {"@open", Verdict::allow}});
  for (const char* name : {"asked", "open"}) {
    Denials denials(s.layers);
    denials.count({.operation = "connect",
                   .decision = s.layers.judge(policy::with_abstract(policy::Operation::connect, name)),
                   .path = name,
                   .abstract = true,
                   .reason = "said"});
    const wire::DenialLine& line = denials.summary().denials.at(0);
    EXPECT_EQ(line.reason, "said");
    EXPECT_EQ(line.rule, name == std::string("asked") ? "r0" : "");
    EXPECT_EQ(line.guidance, name == std::string("asked") ? "Why r0" : "");
  }
}

TEST(Denials, AreBoundedAndCounted) {
  policy::Layers layers;
  Denials denials(layers);
  Record record{.operation = "connect"};
  for (size_t i = 0; i < Denials::kMaxLines + 10; ++i) {
    record.path = "/s" + std::to_string(i);
    denials.count(record);
    denials.count(record);
  }
  EXPECT_EQ(denials.summary().denied, 2 * (Denials::kMaxLines + 10));
  EXPECT_EQ(denials.summary().denials.size(), Denials::kMaxLines);
  EXPECT_EQ(denials.summary().denials[0].count, 2U);
  EXPECT_GE(denials.summary().more, 10U);
  record.done = true;
  record.decision.recorded = Verdict::allow;
  denials.count(record);
  EXPECT_EQ(denials.summary().allowed, 1U);
  denials.count_lost(5);
  EXPECT_EQ(denials.summary().lost, 5U);
}

}  // namespace
}  // namespace wrapd::supervisor
