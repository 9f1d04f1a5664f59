// SPDX-License-Identifier: Apache-2.0

// Real sockets, real seccomp listeners and pidfds, real peers; only the clock is ours.

#include "supervisor/handoff_acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/io.h"
#include "supervisor/descriptor_kind.h"
#include "tests/lib/temporary_directory.h"
#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using wire::HandoffAnswer;
using wire::HandoffKind;

constexpr std::string_view kProcFds = "/proc/self/fd";
constexpr uid_t kStranger = 65534;

size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

// A filter that allows everything, on a thread that ends at once: its listener is all that is left.
UniqueFd make_listener() {
  int fd = -1;
  std::thread([&fd] {
    std::array<sock_filter, 1> code{sock_filter(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW))};
    sock_fprog program{.len = 1, .filter = code.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return;
    fd = static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
  }).join();
  return UniqueFd(fd);
}

UniqueFd own_pidfd() {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
}

class HandoffAcceptorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = open_descriptors();
    seccomp_ = make_listener();
    ASSERT_TRUE(seccomp_);
    start(HandoffKind::notify);
  }
  void TearDown() override {
    acceptor_.reset();
    seccomp_.reset();
    EXPECT_EQ(open_descriptors(), before_) << "descriptors leaked";
  }

  HandoffAcceptor::Options options(HandoffKind kind) {
    HandoffAcceptor::Options o;
    o.kind = kind;
    o.peer_uid = ::getuid();
    o.token = token_;
    if (kind == HandoffKind::notify)
      o.check_descriptor = [](int fd) { return descriptor_is_seccomp_listener(fd, kProcFds); };
    if (kind == HandoffKind::signal) o.check_descriptor = [](int fd) { return descriptor_is_pidfd(fd, kProcFds); };
    o.report = [this](audit::Event event) { events_.push_back(std::move(event)); };
    return o;
  }

  void start(HandoffKind kind) { start(options(kind)); }
  void start(HandoffAcceptor::Options o) {
    acceptor_.reset();
    events_.clear();
    std::filesystem::remove(path());
    UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = this->address();
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::chmod(path().c_str(), 0666), 0);
    ASSERT_EQ(::listen(listener.get(), 64), 0);
    acceptor_ = std::make_unique<HandoffAcceptor>(std::move(listener), std::move(o));
  }

  [[nodiscard]] std::string path() const { return directory_ + "/h.sock"; }
  [[nodiscard]] sockaddr_un address() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  [[nodiscard]] UniqueFd knock() const {
    UniqueFd s(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un to = address();
    if (::connect(s.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return {};
    return s;
  }
  [[nodiscard]] std::string frame(HandoffKind kind = HandoffKind::notify) const {
    auto bytes = encode(wire::HandoffFrame{.kind = kind, .token = token_});
    return {bytes.begin(), bytes.end()};
  }
  static void send(const UniqueFd& to, std::string_view bytes, std::initializer_list<int> fds) {
    ASSERT_TRUE(wire::send_packet(to.get(), bytes, std::vector<int>(fds), true));
  }
  // The byte a peer got; 0: closed without one, '?': nothing yet.
  static char answer_of(const UniqueFd& peer) {
    char byte = 0;
    ssize_t n = ::recv(peer.get(), &byte, 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return '?';
    return n == 1 ? byte : '\0';
  }
  std::optional<HandoffAcceptor::Accepted> step() { return acceptor_->step(now_); }

  // A good peer gets through, whatever was before.
  void expect_good_peer_accepted(HandoffKind kind = HandoffKind::notify) {
    UniqueFd pidfd = own_pidfd();
    int handed = kind == HandoffKind::notify ? seccomp_.get() : pidfd.get();
    UniqueFd peer = knock();
    ASSERT_TRUE(peer);
    send(peer, frame(kind), {handed});
    auto accepted = step();
    for (int i = 0; i < 4 && !accepted; ++i) accepted = step();
    ASSERT_TRUE(accepted);
    struct stat a {
    }, b{};
    ASSERT_EQ(::fstat(accepted->descriptor.get(), &a), 0);
    ASSERT_EQ(::fstat(handed, &b), 0);
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_EQ(::fcntl(accepted->descriptor.get(), F_GETFD), FD_CLOEXEC);
    EXPECT_FALSE(acceptor_->listening());
    EXPECT_FALSE(acceptor_->spent());
    EXPECT_EQ(answer_of(peer), '?') << "the acknowledgement is the owner's to send";
    EXPECT_TRUE(answer(accepted->connection, HandoffAnswer::accepted));
    EXPECT_EQ(answer_of(peer), '\x06');
    EXPECT_FALSE(knock()) << "still listening";
  }

  size_t before_ = 0;
  test::TemporaryDirectory temporary_{"/tmp", 0711};
  std::string directory_ = temporary_.path();
  std::string token_ = random_hex(32);
  HandoffAcceptor::TimePoint now_{std::chrono::hours(1)};
  UniqueFd seccomp_;
  std::vector<audit::Event> events_;
  std::unique_ptr<HandoffAcceptor> acceptor_;
};

TEST_F(HandoffAcceptorTest, GoodPeer) {
  expect_good_peer_accepted();
  EXPECT_TRUE(events_.empty());
  EXPECT_FALSE(step());
}

TEST_F(HandoffAcceptorTest, GoodPeerOfTheSignalSocket) {
  start(HandoffKind::signal);
  expect_good_peer_accepted(HandoffKind::signal);
}

TEST_F(HandoffAcceptorTest, FrameThatComesLater) {
  UniqueFd peer = knock();
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(peer), '?');
  std::vector<pollfd> poll;
  acceptor_->collect_poll(poll);
  ASSERT_EQ(poll.size(), 2U);
  EXPECT_EQ(::poll(poll.data(), poll.size(), 0), 0);
  send(peer, frame(), {seccomp_.get()});
  EXPECT_EQ(::poll(poll.data(), poll.size(), 0), 1);
  EXPECT_TRUE(step());
}

// The last close of a TCP socket that lingers and has unsent data waits. A stranger leaves one in the connection for us
// to close.
TEST_F(HandoffAcceptorTest, AStrangersLingeringSocketHoldsUpNobody) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root for a second uid";
  std::array<int, 2> ends;
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd ready(ends[0]);
  UniqueFd tell(ends[1]);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setresgid(kStranger, kStranger, kStranger) != 0 || ::setresuid(kStranger, kStranger, kStranger) != 0)
      ::_exit(2);
    UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    linger wait{.l_onoff = 1, .l_linger = 5};
    std::string data(1 << 16, 'x');
    if (::bind(server.get(), reinterpret_cast<sockaddr*>(&address), size) < 0 || ::listen(server.get(), 1) < 0 ||
        ::getsockname(server.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0 ||
        ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof wait) < 0)
      ::_exit(3);
    (void)::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size);
    UniqueFd accepted(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    while (::send(client.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
    }
    UniqueFd peer = knock();
    std::array fds{client.get()};
    if (!peer || !wire::send_packet(peer.get(), "no descriptor yet", {}, true) ||
        !wire::send_packet(peer.get(), frame(), fds, true))
      ::_exit(4);
    client.reset();
    if (::write(tell.get(), "x", 1) != 1) ::_exit(5);
    // Lives on: its end of the TCP connection takes nothing, and does not go away.
    for (;;) ::pause();
  }
  tell.reset();
  char byte = 0;
  ASSERT_EQ(::read(ready.get(), &byte, 1), 1);
  auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(step());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  ++before_;  // kept open
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  UniqueFd good = knock();
  std::array fds{seccomp_.get()};
  ASSERT_TRUE(wire::send_packet(good.get(), frame(), fds, true));
  EXPECT_TRUE(step());
}

TEST_F(HandoffAcceptorTest, StrangerIsTurnedAwayAndTheRightOneTaken) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root for a second uid";
  std::array<int, 2> ends;
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd ready(ends[0]);
  UniqueFd tell(ends[1]);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Has the token, the frame and the descriptor; only its uid is wrong.
    if (::setresgid(kStranger, kStranger, kStranger) != 0 || ::setresuid(kStranger, kStranger, kStranger) != 0)
      ::_exit(2);
    UniqueFd peer = knock();
    std::array fds{seccomp_.get()};
    if (!peer || !wire::send_packet(peer.get(), frame(), fds, true)) ::_exit(3);
    if (::write(tell.get(), "x", 1) != 1) ::_exit(4);
    char byte = 0;
    ::_exit(::recv(peer.get(), &byte, 1, 0) == 1 ? 1 : 0);  // no answer at all
  }
  tell.reset();
  char byte = 0;
  ASSERT_EQ(::read(ready.get(), &byte, 1), 1);
  EXPECT_FALSE(step());
  ++before_;  // kept open, because a descriptor waits in it that nobody received
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].kind, audit::Kind::peer_rejected);
  EXPECT_EQ(events_[0].peer_uid, kStranger);
  EXPECT_EQ(events_[0].pid, child);
  EXPECT_EQ(events_[0].count, 1U);
  EXPECT_EQ(events_[0].operation, "hand-off notify");
  EXPECT_FALSE(acceptor_->spent());
  expect_good_peer_accepted();
}

// The stranger connects again and again for as long as it lives.
TEST_F(HandoffAcceptorTest, ReconnectingStrangerDelaysNobody) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root for a second uid";
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setresgid(kStranger, kStranger, kStranger) != 0 || ::setresuid(kStranger, kStranger, kStranger) != 0)
      ::_exit(2);
    for (;;) knock().reset();
  }
  // Until the attack runs.
  while (acceptor_->rejected() < 500) {
    std::vector<pollfd> poll;
    acceptor_->collect_poll(poll);
    ASSERT_GT(::poll(poll.data(), poll.size(), 10000), 0);
    EXPECT_FALSE(step());
  }
  std::optional<HandoffAcceptor::Accepted> accepted;
  char got = 0;
  std::thread good([&] {
    UniqueFd peer = knock();
    std::array fds{seccomp_.get()};
    if (!peer || !wire::send_packet(peer.get(), frame(), fds, true)) return;
    char byte = 0;
    if (::recv(peer.get(), &byte, 1, 0) == 1) got = byte;
  });
  auto begin = std::chrono::steady_clock::now();
  while (!accepted && std::chrono::steady_clock::now() - begin < 20s) {
    std::vector<pollfd> poll;
    acceptor_->collect_poll(poll);
    EXPECT_GT(::poll(poll.data(), poll.size(), 10000), 0);
    accepted = step();
  }
  auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_TRUE(accepted && answer(accepted->connection, HandoffAnswer::accepted));
  acceptor_->stop();
  good.join();
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(got, '\x06');
  EXPECT_LT(took, 2s);
  // All within one second of the fake clock: four at once, the rest counted when we stopped.
  ASSERT_EQ(events_.size(), 5U);
  uint64_t sum = 0;
  for (const audit::Event& event : events_) sum += event.count.value_or(0);
  EXPECT_EQ(sum, acceptor_->rejected());
}

TEST_F(HandoffAcceptorTest, SilentPeersTakeNobodysPlace) {
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 20; ++i) {
    silent.push_back(knock());
    ASSERT_TRUE(silent.back());
  }
  EXPECT_FALSE(step());
  std::vector<pollfd> poll;
  acceptor_->collect_poll(poll);
  EXPECT_EQ(poll.size(), 1U + 8U);
  for (size_t i = 0; i < silent.size(); ++i) EXPECT_EQ(answer_of(silent[i]), i < 12 ? 'R' : '?') << i;
  expect_good_peer_accepted();
  EXPECT_EQ(answer_of(silent[19]), '\0');
}

TEST_F(HandoffAcceptorTest, FrameThatCameWhileItWasPushedOutCounts) {
  UniqueFd peer = knock();
  EXPECT_FALSE(step());
  send(peer, frame(), {seccomp_.get()});
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(knock());
  EXPECT_TRUE(step());
}

TEST_F(HandoffAcceptorTest, EveryConnectionHasItsOwnDeadline) {
  UniqueFd first = knock();
  EXPECT_FALSE(step());
  ASSERT_TRUE(acceptor_->next_deadline());
  EXPECT_EQ(*acceptor_->next_deadline(), now_ + 2s);
  now_ += 1500ms;
  UniqueFd second = knock();
  EXPECT_FALSE(step());
  now_ += 499ms;
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(first), '?');
  now_ += 1ms;
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(first), 'R');
  EXPECT_EQ(answer_of(second), '?');
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_THAT(events_[0].reason, HasSubstr("in time"));
  EXPECT_EQ(*acceptor_->next_deadline(), now_ + 1500ms);
  now_ += 1500ms;
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(second), 'R');
  EXPECT_FALSE(acceptor_->next_deadline());
  expect_good_peer_accepted();
}

TEST_F(HandoffAcceptorTest, BadFramesAreRefusedAndLeaveTheTokenAlone) {
  UniqueFd other(::eventfd(0, EFD_CLOEXEC));
  int fd = seccomp_.get();
  std::string wrong_token = frame();
  wrong_token[70] = wrong_token[70] == '0' ? '1' : '0';
  struct Case {
    std::string bytes;
    std::vector<int> fds;
    char expected;
  };
  for (const Case& c : {Case{frame().substr(0, 36), {fd}, 'F'}, Case{frame() + "x", {fd}, 'F'}, Case{frame(), {}, 'F'},
                        Case{frame(), {fd, other.get()}, 'F'}, Case{frame(), std::vector<int>(100, fd), 'F'},
                        Case{std::string(72, 'x'), {fd}, 'F'}, Case{frame(HandoffKind::signal), {fd}, 'F'},
                        Case{frame(HandoffKind::ptrace), {fd}, 'F'}, Case{"", {fd}, 'F'},
                        Case{std::string(100000, 'x'), {fd}, 'F'}, Case{wrong_token, {fd}, 'T'}}) {
    size_t open = open_descriptors();
    {
      UniqueFd peer = knock();
      ASSERT_TRUE(wire::send_packet(peer.get(), c.bytes, c.fds, true));
      EXPECT_FALSE(step());
      EXPECT_EQ(answer_of(peer), c.expected) << c.bytes.size() << " bytes, " << c.fds.size() << " descriptors";
      EXPECT_EQ(answer_of(peer), '\0') << "not closed";
    }
    EXPECT_EQ(open_descriptors(), open);
    EXPECT_FALSE(acceptor_->spent());
    now_ += 1s;
  }
  EXPECT_EQ(acceptor_->rejected(), 11U);
  EXPECT_EQ(events_.size(), 11U);
  expect_good_peer_accepted();
}

TEST_F(HandoffAcceptorTest, WrongDescriptorUsesTheTokenUp) {
  for (HandoffKind kind : {HandoffKind::notify, HandoffKind::signal}) {
    start(kind);
    std::array<int, 2> ends;
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    UniqueFd a(ends[0]), b(ends[1]);
    UniqueFd peer = knock();
    send(peer, frame(kind), {a.get()});
    EXPECT_FALSE(step());
    EXPECT_EQ(answer_of(peer), 'D');
    EXPECT_TRUE(acceptor_->spent());
    UniqueFd pidfd = own_pidfd();
    UniqueFd again = knock();
    send(again, frame(kind), {kind == HandoffKind::notify ? seccomp_.get() : pidfd.get()});
    EXPECT_FALSE(step());
    EXPECT_EQ(answer_of(again), 'T');
    EXPECT_TRUE(acceptor_->listening());
  }
}

TEST_F(HandoffAcceptorTest, OneTokenOneHandOff) {
  UniqueFd first = knock();
  UniqueFd second = knock();
  send(first, frame(), {seccomp_.get()});
  send(second, frame(), {seccomp_.get()});
  auto accepted = step();
  ASSERT_TRUE(accepted);
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(second), '\0');
}

TEST_F(HandoffAcceptorTest, UnsupportedKindSaysSo) {
  start(HandoffKind::ptrace);
  UniqueFd pidfd = own_pidfd();
  UniqueFd peer = knock();
  send(peer, frame(HandoffKind::ptrace), {pidfd.get()});
  EXPECT_FALSE(step());
  EXPECT_EQ(answer_of(peer), 'U');
  EXPECT_FALSE(acceptor_->spent());
}

TEST_F(HandoffAcceptorTest, PeersThatCloseAtOnce) {
  for (int i = 0; i < 25; ++i) {  // fits the backlog
    knock().reset();
    UniqueFd half = knock();
    send(half, "WRPH", {seccomp_.get()});
    half.reset();
  }
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(step());
  EXPECT_EQ(acceptor_->rejected(), 50U);
  EXPECT_EQ(events_.size(), 4U);
  expect_good_peer_accepted();
}

TEST_F(HandoffAcceptorTest, ReportsAreLimitedAndNothingIsLeftOut) {
  auto reject = [&](int times) {
    for (int i = 0; i < times; ++i) {
      knock().reset();
      EXPECT_FALSE(step());
    }
  };
  reject(10);
  EXPECT_EQ(events_.size(), 4U);
  now_ += 1s;
  reject(1);
  ASSERT_EQ(events_.size(), 5U);
  EXPECT_EQ(events_[4].count, 7U);
  reject(10);
  EXPECT_EQ(events_.size(), 8U);
  acceptor_->stop();
  ASSERT_EQ(events_.size(), 9U);
  EXPECT_EQ(events_[8].count, 7U);
  acceptor_->stop();
  EXPECT_EQ(events_.size(), 9U);
}

TEST_F(HandoffAcceptorTest, OutOfDescriptorsShedsAndRecovers) {
  std::vector<UniqueFd> peers;
  for (int i = 0; i < 3; ++i) peers.push_back(knock());
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  UniqueFd next(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  rlimit none{.rlim_cur = static_cast<rlim_t>(next.get()), .rlim_max = old.rlim_max};
  next.reset();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_FALSE(step());
  std::vector<pollfd> poll;
  acceptor_->collect_poll(poll);
  int ready = ::poll(poll.data(), poll.size(), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(ready, 0) << "poll would spin";
  EXPECT_TRUE(acceptor_->listening());
  for (const UniqueFd& peer : peers) EXPECT_EQ(answer_of(peer), '\0');
  EXPECT_EQ(acceptor_->rejected(), 3U);
  now_ += 1s;
  EXPECT_FALSE(step());
  expect_good_peer_accepted();
}

// Somebody else took even the reserve: the listener rests, its deadline wakes the owner.
TEST_F(HandoffAcceptorTest, WithoutAReserveItRestsInsteadOfSpinning) {
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  UniqueFd next(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  int first_free = next.get();
  next.reset();
  // The fixture's acceptor holds two numbers; give it one that could not get its reserve.
  acceptor_.reset();
  std::filesystem::remove(path());
  UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un to = address();
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  ASSERT_EQ(::listen(listener.get(), 64), 0);
  UniqueFd peer = knock();
  std::vector<UniqueFd> filler;
  while (filler.empty() || filler.back().get() < first_free) {
    filler.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    ASSERT_TRUE(filler.back());
  }
  rlimit none{.rlim_cur = static_cast<rlim_t>(filler.back().get()) + 1, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  acceptor_ = std::make_unique<HandoffAcceptor>(std::move(listener), options(HandoffKind::notify));
  EXPECT_FALSE(step());
  std::vector<pollfd> poll;
  acceptor_->collect_poll(poll);
  EXPECT_TRUE(poll.empty());
  EXPECT_EQ(acceptor_->next_deadline(), now_ + 100ms);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  filler.clear();
  now_ += 100ms;
  send(peer, frame(), {seccomp_.get()});
  EXPECT_TRUE(step()) << "the peer of before is still served";
}

TEST(DescriptorKind, ListenerAndPidfdAreToldFromEverythingElse) {
  UniqueFd listener = make_listener();
  UniqueFd pidfd = own_pidfd();
  ASSERT_TRUE(listener && pidfd);
  EXPECT_TRUE(descriptor_is_seccomp_listener(listener.get(), kProcFds));
  EXPECT_TRUE(descriptor_is_pidfd(pidfd.get(), kProcFds));
  EXPECT_FALSE(descriptor_is_pidfd(listener.get(), kProcFds));
  EXPECT_FALSE(descriptor_is_seccomp_listener(pidfd.get(), kProcFds));
  test::TemporaryDirectory directory;
  // A user can name files at will, but not without a '/' at the head.
  std::string lookalike = directory / "anon_inode:seccomp notify";
  for (int fd :
       {::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ::eventfd(0, EFD_CLOEXEC),
        ::open("/dev/null", O_RDWR | O_CLOEXEC), ::open("/", O_PATH | O_CLOEXEC),
        ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ::open(lookalike.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600),
        ::open((directory / "anon_inode:[pidfd]").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)}) {
    ASSERT_GE(fd, 0);
    UniqueFd owned(fd);
    EXPECT_FALSE(descriptor_is_seccomp_listener(fd, kProcFds));
    EXPECT_FALSE(descriptor_is_pidfd(fd, kProcFds));
  }
  EXPECT_FALSE(descriptor_is_seccomp_listener(-1, kProcFds));
  EXPECT_FALSE(descriptor_is_pidfd(listener.get(), "/nonexistent"));
}

TEST(DescriptorKind, PidfdOfAReapedProcessIsRefused) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(pidfd);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  auto checked = descriptor_is_pidfd(pidfd.get(), kProcFds);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ESRCH);
}

}  // namespace
}  // namespace wrapd::supervisor
