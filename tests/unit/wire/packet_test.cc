// SPDX-License-Identifier: Apache-2.0
#include "wire/packet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>

namespace wrapd::wire {
namespace {

constexpr int kSoPassPidfd = 76;  // include/uapi/asm-generic/socket.h

size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

class PacketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = open_descriptors();
    std::array<int, 2> ends;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours_.reset(ends[0]);
    theirs_.reset(ends[1]);
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read_end_.reset(ends[0]);
    write_end_.reset(ends[1]);
  }
  void TearDown() override {
    for (UniqueFd* fd : {&ours_, &theirs_, &read_end_, &write_end_}) fd->reset();
    EXPECT_EQ(open_descriptors(), before_) << "descriptors leaked";
  }
  size_t before_ = 0;
  UniqueFd ours_, theirs_, read_end_, write_end_;
};

bool same_file(int a, int b) {
  struct stat x {
  }, y{};
  return ::fstat(a, &x) == 0 && ::fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

TEST_F(PacketTest, BytesAndDescriptors) {
  std::array fds{read_end_.get(), write_end_.get()};
  ASSERT_TRUE(send_packet(theirs_.get(), std::string_view("a\0b", 3), fds, false));
  auto packet = receive_packet(ours_.get(), 16, 2);
  ASSERT_TRUE(packet) << packet.error().message;
  EXPECT_EQ(packet->bytes, std::string("a\0b", 3));
  ASSERT_EQ(packet->fds.size(), 2U);
  EXPECT_TRUE(same_file(packet->fds[1].get(), write_end_.get()));
  for (const UniqueFd& fd : packet->fds) EXPECT_EQ(::fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_FALSE(packet->eof());
}

TEST_F(PacketTest, NothingThereDoesNotWait) {
  auto packet = receive_packet(ours_.get(), 16, 1);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, EAGAIN);
}

TEST_F(PacketTest, EndOfConnection) {
  theirs_.reset();
  auto packet = receive_packet(ours_.get(), 16, 1);
  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->eof());
}

TEST_F(PacketTest, EmptyMessageCountsAsTheEnd) {
  ASSERT_TRUE(send_packet(theirs_.get(), "", {}, false));
  auto packet = receive_packet(ours_.get(), 16, 1);
  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->eof());
}

TEST_F(PacketTest, EmptyMessageWithADescriptorIsNotTheEnd) {
  std::array fds{read_end_.get()};
  ASSERT_TRUE(send_packet(theirs_.get(), "", fds, false));
  auto packet = receive_packet(ours_.get(), 16, 1);
  ASSERT_TRUE(packet) << packet.error().message;
  EXPECT_FALSE(packet->eof());
  EXPECT_EQ(packet->fds.size(), 1U);
}

TEST_F(PacketTest, LimitIsExactAndTheRestIsGone) {
  std::array fds{read_end_.get()};
  ASSERT_TRUE(send_packet(theirs_.get(), "12345678", fds, false));
  ASSERT_TRUE(send_packet(theirs_.get(), "123456789", fds, false));
  ASSERT_TRUE(send_packet(theirs_.get(), "next", {}, false));
  auto packet = receive_packet(ours_.get(), 8, 1);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, "12345678");
  packet = receive_packet(ours_.get(), 8, 1);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, EMSGSIZE);
  packet = receive_packet(ours_.get(), 8, 1);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, "next");
}

// Where much is allowed, room is made for what comes: the limit is as exact, and nothing is ever taken half.
TEST_F(PacketTest, RoomIsMadeForTheMessageThatComes) {
  constexpr size_t kLimit = 65536;
  std::array fds{read_end_.get()};
  EXPECT_EQ(receive_packet(ours_.get(), kLimit, 1).error().code, EAGAIN);
  for (size_t size : {size_t{1}, size_t{1024}, size_t{1025}, kLimit}) {
    ASSERT_TRUE(send_packet(theirs_.get(), std::string(size, 'x'), fds, false));
    auto packet = receive_packet(ours_.get(), kLimit, 1);
    ASSERT_TRUE(packet) << packet.error().message;
    EXPECT_EQ(packet->bytes, std::string(size, 'x'));
    EXPECT_LE(packet->bytes.capacity(), size + 64) << "no more than is needed";
    EXPECT_EQ(packet->fds.size(), 1U);
  }
  ASSERT_TRUE(send_packet(theirs_.get(), std::string(kLimit + 1, 'x'), fds, false));
  ASSERT_TRUE(send_packet(theirs_.get(), "next", {}, false));
  EXPECT_EQ(receive_packet(ours_.get(), kLimit, 1).error().code, EMSGSIZE);
  EXPECT_EQ(receive_packet(ours_.get(), kLimit, 1)->bytes, "next");
  theirs_.reset();
  auto end = receive_packet(ours_.get(), kLimit, 1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->eof());
}

// An offset of SO_PEEK_OFF, which belongs to the open file, makes a message seem shorter.
TEST_F(PacketTest, AnOffsetForLookingCutsNoMessage) {
  for (int offset : {1, 1000, 2999}) {
    ASSERT_EQ(::setsockopt(ours_.get(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset), 0);
    ASSERT_TRUE(send_packet(theirs_.get(), std::string(3000, 'x'), {}, false));
    EXPECT_EQ(receive_packet(ours_.get(), 65536, 0).error().code, EMSGSIZE) << offset;
  }
}

TEST_F(PacketTest, TooManyDescriptorsAreClosed) {
  for (size_t sent : {1U, 2U, 3U, 17U, 253U}) {
    for (size_t allowed : {0U, 1U, 2U}) {
      std::vector<int> fds(sent, read_end_.get());
      size_t open = open_descriptors();
      ASSERT_TRUE(send_packet(theirs_.get(), "x", fds, false));
      {
        auto packet = receive_packet(ours_.get(), 8, allowed);
        ASSERT_EQ(packet.has_value(), sent <= allowed) << sent << " of " << allowed;
        EXPECT_TRUE(packet || packet.error().code == EPROTO);
      }
      EXPECT_EQ(open_descriptors(), open) << sent << " of " << allowed;
    }
  }
}

// The peer made the pair, so it can switch on whatever it likes for our end as well.
TEST_F(PacketTest, UnaskedAncillaryDataIsClosedAndIgnored) {
  int on = 1;
  ASSERT_EQ(::setsockopt(ours_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  (void)::setsockopt(ours_.get(), SOL_SOCKET, SO_PASSSEC, &on, sizeof on);
  // Linux 6.5; the rest is tested without it, too.
  (void)::setsockopt(ours_.get(), SOL_SOCKET, kSoPassPidfd, &on, sizeof on);
  size_t open = open_descriptors();
  std::array fds{read_end_.get(), write_end_.get()};
  ASSERT_TRUE(send_packet(theirs_.get(), "hello", fds, false));
  {
    auto packet = receive_packet(ours_.get(), 8, 2);
    ASSERT_TRUE(packet) << packet.error().message;
    EXPECT_EQ(packet->bytes, "hello");
    ASSERT_EQ(packet->fds.size(), 2U);
    EXPECT_TRUE(same_file(packet->fds[0].get(), read_end_.get()));
    EXPECT_EQ(open_descriptors(), open + 2);
  }
  ASSERT_TRUE(send_packet(theirs_.get(), "", {}, false));
  auto packet = receive_packet(ours_.get(), 8, 2);
  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->eof());
  EXPECT_EQ(open_descriptors(), open);
}

TEST_F(PacketTest, NoDescriptorLeftIsAnErrorNotACut) {
  std::array fds{read_end_.get(), write_end_.get()};
  ASSERT_TRUE(send_packet(theirs_.get(), "x", fds, false));
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  // The lowest free number is the only one that is left.
  UniqueFd next(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  rlimit low{.rlim_cur = static_cast<rlim_t>(next.get()) + 1, .rlim_max = old.rlim_max};
  next.reset();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  auto packet = receive_packet(ours_.get(), 8, 2);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, EPROTO);
}

TEST_F(PacketTest, SendingNeverWaitsNorRaises) {
  Result<> sent;
  size_t count = 0;
  for (; count < 100000 && sent; ++count) sent = send_packet(theirs_.get(), std::string(1024, 'x'), {}, true);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, EAGAIN);
  ours_.reset();
  sent = send_packet(theirs_.get(), "x", {}, true);
  ASSERT_FALSE(sent);
  EXPECT_TRUE(sent.error().code == EPIPE || sent.error().code == ECONNRESET) << sent.error().message;
}

}  // namespace
}  // namespace wrapd::wire
