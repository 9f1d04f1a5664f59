// SPDX-License-Identifier: Apache-2.0

// What an address is, and what it is taken for: names that end elsewhere, that are shown as something else, that are
// not there at all, or that come with what is sent.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "arena.h"
#include "naive.h"
#include "programs.h"

namespace wrapd::attack {
namespace {

using policy::Operation;
using policy::Verdict;
using supervisor::AddressCopy;
using supervisor::Caller;
using supervisor::SessionObjects;

// Reads the address of a connect or a bind as `name` says: an abstract name begins with '@'.
Look by_name(std::string (*name)(const AddressCopy&)) {
  return [name](const SessionObjects& session, const Caller& call) {
    if (call.number != SYS_connect && call.number != SYS_bind) return true;
    auto address = call.copy_address(call.arguments[1], call.arguments[2]);
    if (!address) return false;
    auto operation = call.number == SYS_bind ? Operation::bind : Operation::connect;
    std::string text = name(*address);
    if (text.starts_with('@')) return session.layers.judge(policy::with_abstract(operation, text.substr(1))).permits();
    return session.layers.judge(policy::with_path(operation, text)).permits();
  };
}

const char* bytes_of(const AddressCopy& address) {
  return reinterpret_cast<const char*>(&address.storage) + offsetof(sockaddr_un, sun_path);
}

struct Scene {
  Place place;
  Scene() {
    make_directory(place / "kept");
    make_directory(place / "open");
  }
};

void expect_won_and_lost(const Place& place, Server& bad, const std::vector<Rule>& rules, const Look& look,
                         const Program& program) {
  Story won, lost;
  EXPECT_EQ(run_wrapped(place, won, rules, program, looks_and_lets_go(look)).exit_status, 0);
  bad.settle();
  EXPECT_EQ(won.of("attack"), "ok") << "the harness does not bite";
  EXPECT_EQ(bad.reached(), 1U) << "the harness does not bite";
  auto result = run_wrapped(place, lost, rules, program);
  EXPECT_EQ(result.exit_status, 0);
  bad.settle();
  EXPECT_EQ(lost.of("attack"), "EACCES");
  EXPECT_EQ(bad.reached(), 1U);
  EXPECT_EQ(result.denied, 1U);
}

// 108 bytes are a name without a NUL behind it.
TEST(Addresses, NameWithoutAnEnd) {
  Scene scene;
  std::string name = scene.place / "kept/";
  name += std::string(kMaxName - name.size(), 'x');
  Server bad(name);
  expect_won_and_lost(scene.place, bad, {{{name}, Verdict::deny}, {{"/**"}, Verdict::allow}},
                      by_name([](const AddressCopy& address) {
                        // Room for the terminator is made where the last byte was.
                        return std::string(bytes_of(address), ::strnlen(bytes_of(address), kMaxName - 1));
                      }),
                      [&](const Place&, Story& story) { story.tell("attack", connect_to(name)); });
}

// The kernel reads as many bytes as the length says, and more bytes may follow.
TEST(Addresses, LengthThatCutsTheName) {
  Scene scene;
  std::string name = scene.place / "kept/s";
  Server bad(name);
  expect_won_and_lost(scene.place, bad, {{{name}, Verdict::deny}, {{"/**"}, Verdict::allow}},
                      by_name([](const AddressCopy& address) {
                        return std::string(bytes_of(address), ::strnlen(bytes_of(address), kMaxName)) + "x";
                      }),
                      [&](const Place&, Story& story) {
                        Address address = unix_address(name + "x");
                        --address.length;
                        story.tell("attack", connect_to(address));
                      });
}

// "@" at the head is how an abstract name is shown. Written, it is a letter of a file's name.
TEST(Addresses, FileThatLooksAbstract) {
  Scene scene;
  Server bad(scene.place / "kept/@s");
  expect_won_and_lost(scene.place, bad, {{{"@**"}, Verdict::allow}}, by_name([](const AddressCopy& address) {
                        std::string text(bytes_of(address), address.length - offsetof(sockaddr_un, sun_path));
                        if (text.starts_with('\0')) text[0] = '@';
                        return text;
                      }),
                      [](const Place& where, Story& story) {
                        if (::chdir((where / "kept").c_str()) < 0) ::_exit(1);
                        story.tell("attack", connect_to("@s"));
                      });
}

// Renames are not brought to us here: what was under the denied name when the session began is denied all the same.
TEST(Addresses, DeniedNameThatWasMoved) {
  Scene scene;
  std::string name = scene.place / "kept/s", moved = scene.place / "open/s";
  Server bad(name);
  Program program = [&](const Place&, Story& story) {
    if (::rename(name.c_str(), moved.c_str()) < 0) ::_exit(1);
    story.tell("attack", connect_to(moved));
    if (::rename(moved.c_str(), name.c_str()) < 0) ::_exit(1);
  };
  expect_won_and_lost(scene.place, bad, {{{name}, Verdict::deny}, {{"/**"}, Verdict::allow}},
                      by_name([](const AddressCopy& address) { return std::string(bytes_of(address)); }), program);
}

// ---------------------------------------------------------------------------------------------------------------------
// Names that nobody wrote

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

// Judges names that are paths; an address without one has none.
bool looks_at_paths(const SessionObjects& session, const Caller& call) {
  if (call.number != SYS_connect && call.number != SYS_bind) return true;
  auto address = call.copy_address(call.arguments[1], call.arguments[2]);
  if (!address) return false;
  auto name = supervisor::decode_unix_name(*address);
  if (name.kind != supervisor::UnixName::Kind::path) return name.kind == supervisor::UnixName::Kind::unnamed;
  return session.layers.judge(policy::with_path(Operation::connect, std::string(name.text))).permits();
}

// The kernel gives an abstract name to a socket that is bound to the family alone, and to one that wants credentials
// when it connects; neither may serve where no abstract name may.
TEST(Addresses, NamesOfTheKernelsChoice) {
  for (bool naive : {true, false}) {
    Scene scene;
    UniqueFd deaf(unix_socket());
    Address address = unix_address(scene.place / "open/s");
    ASSERT_EQ(::bind(deaf.get(), address.get(), address.length), 0);
    ASSERT_EQ(::chmod((scene.place / "open/s").c_str(), 0666), 0);
    Story story;
    run_wrapped(
        scene.place, story, {{{scene.place / "open/*"}, Verdict::allow}},
        [&](const Place&, Story& told) {
          UniqueFd bound(unix_socket());
          Address family;
          family.storage.ss_family = AF_UNIX;
          family.length = sizeof(sa_family_t);
          told.tell("bind", outcome(::bind(bound.get(), family.get(), family.length)));
          (void)::listen(bound.get(), 1);
          told.tell("bound listens", listens(bound.get()) ? "yes" : "no");

          UniqueFd named(unix_socket());
          int on = 1;
          ::setsockopt(named.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
          told.tell("connect", outcome(::connect(named.get(), address.get(), address.length)));
          told.tell("name", name_of(named.get()).substr(0, 5));
          (void)::listen(named.get(), 1);
          told.tell("named listens", listens(named.get()) ? "yes" : "no");
        },
        naive ? looks_and_lets_go(looks_at_paths) : ours());
    EXPECT_EQ(story.of("bind"), naive ? "ok" : "EACCES");
    EXPECT_EQ(story.of("bound listens"), naive ? "yes" : "no");
    EXPECT_EQ(story.of("connect"), "ECONNREFUSED");
    EXPECT_EQ(story.of("name"), "[8] \\") << "the kernel gave it no name, and the test shows nothing";
    EXPECT_EQ(story.of("named listens"), naive ? "yes" : "no");
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Names that come with what is sent

// A datagram socket outside, of the attacker's user.
class Mailbox {
 public:
  explicit Mailbox(const std::string& path) : socket_(unix_socket(SOCK_DGRAM | SOCK_NONBLOCK)) {
    Address address = unix_address(path);
    EXPECT_EQ(::bind(socket_.get(), address.get(), address.length), 0);
    EXPECT_EQ(::chown(path.c_str(), kAttacker, kAttacker), 0);
  }
  [[nodiscard]] int received() const {
    char byte;
    int count = 0;
    while (::recv(socket_.get(), &byte, 1, 0) >= 0) ++count;
    return count;
  }

 private:
  UniqueFd socket_;
};

void send_all_ways(int fd, const Address& to, Story& story, const std::string& label) {
  char byte = 'x';
  iovec part{.iov_base = &byte, .iov_len = 1};
  Address name = to;
  mmsghdr messages[1]{};
  messages[0].msg_hdr.msg_name = &name.storage;
  messages[0].msg_hdr.msg_namelen = name.length;
  messages[0].msg_hdr.msg_iov = &part;
  messages[0].msg_hdr.msg_iovlen = 1;
  story.tell(label + " sendto", outcome(::sendto(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT, to.get(), to.length)));
  story.tell(label + " sendmsg", outcome(::sendmsg(fd, &messages[0].msg_hdr, MSG_NOSIGNAL | MSG_DONTWAIT)));
  story.tell(label + " sendmmsg", outcome(::sendmmsg(fd, messages, 1, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

TEST(Addresses, DatagramsNameTheirReceiver) {
  for (int type : {int{SOCK_DGRAM}, int{SOCK_RAW}}) {
    Scene scene;
    Mailbox bad(scene.place / "kept/s");
    std::vector<Rule> rules{{{scene.place / "kept/s"}, Verdict::deny}, {{"/**"}, Verdict::allow}};
    Story won, lost;
    auto attack = [&](Story& story) {
      limit_own_life();
      Address to = unix_address(scene.place / "kept/s");
      UniqueFd single(unix_socket(type));
      send_all_ways(single.get(), to, story, "single");
      int pair[2] = {-1, -1};
      (void)::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair);
      UniqueFd first(pair[0]), second(pair[1]);
      send_all_ways(first.get(), to, story, "pair");
      return 0;
    };
    const Terms naive{.filter = brings_by_number({SYS_connect, SYS_bind, SYS_listen})};
    EXPECT_EQ(fight_on(naive, rules, ours(), [&] { return attack(won); }).exit_status, 0);
    EXPECT_EQ(bad.received(), 6) << "the harness does not bite\n" << won.all();
    EXPECT_EQ(fight(rules, ours(), [&] { return attack(lost); }).exit_status, 0);
    EXPECT_EQ(bad.received(), 0);
    EXPECT_EQ(lost.all().find(": ok"), std::string::npos) << lost.all();
  }
}

// Sockets that may be made have no such sends: the kernel refuses the name or leaves it out.
TEST(Addresses, NamesBesideWhatConnectedSocketsSend) {
  Scene scene;
  Mailbox mailbox(scene.place / "kept/d");
  Server stream(scene.place / "kept/s");
  UniqueFd packets(unix_socket(SOCK_SEQPACKET | SOCK_NONBLOCK));
  Address address = unix_address(scene.place / "kept/p");
  ASSERT_EQ(::bind(packets.get(), address.get(), address.length), 0);
  ASSERT_EQ(::chmod((scene.place / "kept/p").c_str(), 0666), 0);
  ASSERT_EQ(::listen(packets.get(), 16), 0);
  Story story;
  run_wrapped(scene.place, story, {}, [](const Place& where, Story& told) {
    for (int type : {int{SOCK_STREAM}, int{SOCK_SEQPACKET}}) {
      int pair[2];
      if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0) ::_exit(1);
      UniqueFd first(pair[0]), second(pair[1]), single(unix_socket(type));
      for (const char* name : {"kept/d", "kept/s", "kept/p"}) {
        send_all_ways(first.get(), unix_address(where / name), told, "pair");
        send_all_ways(single.get(), unix_address(where / name), told, "single");
      }
    }
  });
  stream.settle();
  EXPECT_EQ(mailbox.received(), 0);
  EXPECT_EQ(stream.reached(), 0U);
  EXPECT_LT(::accept4(packets.get(), nullptr, nullptr, SOCK_CLOEXEC), 0);
  EXPECT_EQ(errno, EAGAIN);
}

}  // namespace
}  // namespace wrapd::attack
