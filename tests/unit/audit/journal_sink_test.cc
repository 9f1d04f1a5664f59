// SPDX-License-Identifier: Apache-2.0

// The receiver is a real datagram socket that reads as journald does: native entries, or one sealed memfd.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <map>

#include "audit/sink.h"
#include "base/io.h"
#include "tests/lib/temporary_directory.h"
#include "wire/packet.h"

namespace wrapd::audit {
namespace {

using Fields = std::multimap<std::string, std::string>;

// As journal-file readers take it apart: NAME=VALUE\n or NAME\n<64 bits little endian>VALUE\n.
Fields parse_entry(std::string_view entry) {
  Fields fields;
  while (!entry.empty()) {
    size_t end = entry.find('\n');
    if (end == std::string_view::npos) {
      ADD_FAILURE() << "entry does not end in a newline";
      return fields;
    }
    std::string_view line = entry.substr(0, end);
    entry.remove_prefix(end + 1);
    if (size_t equals = line.find('='); equals != std::string_view::npos) {
      fields.emplace(line.substr(0, equals), line.substr(equals + 1));
      continue;
    }
    uint64_t size = 0;
    EXPECT_GE(entry.size(), 8U);
    std::memcpy(&size, entry.data(), 8);
    entry.remove_prefix(8);
    if (size >= entry.size()) {
      ADD_FAILURE() << "field " << line << " is longer than its entry";
      return fields;
    }
    EXPECT_EQ(entry[size], '\n');
    fields.emplace(line, entry.substr(0, size));
    entry.remove_prefix(size + 1);
  }
  return fields;
}

class JournalSinkTest : public ::testing::Test {
 protected:
  void SetUp() override { start_receiver(); }

  void start_receiver() {
    receiver_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = directory_ + "/socket";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(receiver_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void stop_receiver() {
    receiver_.reset();
    std::filesystem::remove(directory_ + "/socket");
  }

  std::unique_ptr<JournalSink> sink() {
    return std::make_unique<JournalSink>(UniqueFd(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
                                         "socket", "/proc/self/fd");
  }

  // One entry, whichever way it came.
  Fields receive() {
    auto packet = wire::receive_packet(receiver_.get(), 1 << 20, 1);
    EXPECT_TRUE(packet) << packet.error().message;
    if (!packet) return {};
    if (packet->fds.empty()) return parse_entry(packet->bytes);
    EXPECT_TRUE(packet->bytes.empty());
    auto mapping = SealedMapping::map(packet->fds[0].get(), 16 << 20);
    EXPECT_TRUE(mapping) << mapping.error().message;
    if (!mapping) return {};
    by_memfd_ = true;
    return parse_entry({reinterpret_cast<const char*>(mapping->bytes().data()), mapping->bytes().size()});
  }

  test::TemporaryDirectory temporary_;
  std::string directory_ = temporary_.path();
  UniqueFd receiver_;
  bool by_memfd_ = false;
};

Event denial() {
  Event event = make_event(kind_of(policy::Class::unix_socket));
  event.session_id = std::string(32, 'a');
  event.uid = 1000;
  event.pid = 7;
  event.comm = "curl";
  event.operation = "connect";
  event.decision = "deny";
  event.action = "denied";
  event.path = "/run/docker.sock";
  return event;
}

std::string one(const Fields& fields, const std::string& name) {
  EXPECT_EQ(fields.count(name), 1U) << name;
  auto found = fields.find(name);
  return found == fields.end() ? std::string() : found->second;
}

TEST_F(JournalSinkTest, FieldsAreTheDocumentedOnes) {
  auto journal = sink();
  Event event = denial();
  ASSERT_TRUE(journal->write(event));
  Fields fields = receive();
  EXPECT_EQ(one(fields, "MESSAGE"), to_message(event));
  EXPECT_EQ(one(fields, "MESSAGE_ID"), message_id(kind_of(policy::Class::unix_socket)));
  EXPECT_EQ(one(fields, "PRIORITY"), "5");
  EXPECT_EQ(one(fields, "SYSLOG_IDENTIFIER"), "wrapd");
  EXPECT_EQ(one(fields, "SYSLOG_FACILITY"), "10");
  EXPECT_EQ(one(fields, "WRAPD_TYPE"), "unix_socket_op");
  EXPECT_EQ(one(fields, "WRAPD_SESSION_ID"), event.session_id);
  EXPECT_EQ(one(fields, "WRAPD_UID"), "1000");
  EXPECT_EQ(one(fields, "WRAPD_PID"), "7");
  EXPECT_EQ(one(fields, "WRAPD_PATH"), "/run/docker.sock");
  EXPECT_EQ(one(fields, "WRAPD_ABSTRACT"), "false");
  EXPECT_EQ(one(fields, "WRAPD_EVENT"), to_json(event));
  EXPECT_EQ(fields.count("WRAPD_RULE"), 0U);
}

TEST_F(JournalSinkTest, NothingForgesAField) {
  auto journal = sink();
  auto names = [](const Fields& fields) {
    std::vector<std::string> out;
    for (const auto& [name, value] : fields) out.push_back(name);
    return out;
  };
  Event event = denial();
  ASSERT_TRUE(journal->write(event));
  auto plain = names(receive());
  for (const std::string& hostile : {std::string("x\nMESSAGE_ID=00000000000000000000000000000000\nPRIORITY=7\n"),
                                     std::string("x\nWRAPD_DECISION\n\5\0\0\0\0\0\0\0allow\n", 31), std::string("a=b"),
                                     std::string("\0\0", 2), std::string("\xff\xfe\n\n"), std::string("\n")}) {
    event.comm = hostile;
    event.path = hostile;
    ASSERT_TRUE(journal->write(event));
    Fields fields = receive();
    EXPECT_EQ(names(fields), plain);
    EXPECT_EQ(one(fields, "WRAPD_DECISION"), "deny");
    EXPECT_EQ(one(fields, "WRAPD_COMM"), printable(hostile));
    for (const auto& [name, value] : fields) EXPECT_EQ(value.find('\n'), std::string::npos) << name;
  }
}

TEST_F(JournalSinkTest, FullQueueIsLaterNotLoss) {
  auto journal = sink();
  Event event = denial();
  size_t taken = 0;
  Result<> written;
  for (; taken < 10000; ++taken) {
    event.count = taken;
    written = journal->write(event);
    if (!written) break;
  }
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, EAGAIN);
  ASSERT_GT(taken, 0U);
  EXPECT_EQ(one(receive(), "WRAPD_COUNT"), "0");
  EXPECT_TRUE(journal->write(event));
  for (size_t i = 1; i <= taken; ++i) EXPECT_EQ(one(receive(), "WRAPD_COUNT"), std::to_string(i));
}

TEST_F(JournalSinkTest, ComesBackAfterARestart) {
  auto journal = sink();
  ASSERT_TRUE(journal->write(denial()));
  stop_receiver();
  auto away = journal->write(denial());
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, ENOENT);
  start_receiver();
  ASSERT_TRUE(journal->write(denial()));
  receive();
  // Restarted between two events, without one that failed.
  stop_receiver();
  start_receiver();
  ASSERT_TRUE(journal->write(denial()));
  EXPECT_EQ(one(receive(), "WRAPD_COMM"), "curl");
}

TEST_F(JournalSinkTest, SocketFileWithoutAListenerIsAnError) {
  receiver_.reset();
  auto away = sink()->write(denial());
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, ECONNREFUSED);
}

TEST_F(JournalSinkTest, HugeEntryTravelsAsSealedMemfd) {
  auto journal = sink();
  Event event = denial();
  // Strings are bounded, so make the socket small instead.
  ASSERT_TRUE(journal->write(event));
  receive();
  int small = 4608;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    int fd = std::stoi(entry.path().filename());
    sockaddr_un peer{};
    socklen_t length = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0 && fd != receiver_.get() &&
        std::string(peer.sun_path).starts_with(directory_)) {
      ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    }
  }
  event.path = "/" + std::string(4000, '\x01');
  event.command = std::string(4000, '"');
  event.exe = "/" + std::string(4000, 'e');
  ASSERT_TRUE(journal->write(event));
  Fields fields = receive();
  EXPECT_TRUE(by_memfd_);
  EXPECT_EQ(one(fields, "WRAPD_EXE"), event.exe);
  EXPECT_EQ(one(fields, "WRAPD_EVENT"), to_json(event));
}

TEST_F(JournalSinkTest, WorksByADescriptorOnlyAndFromTheDescriptorsDirectory) {
  // As in a supervisor: the working directory is the one with our descriptors' names.
  int old = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(::chdir("/proc/self/fd"), 0);
  JournalSink journal(UniqueFd(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), "socket", ".");
  EXPECT_TRUE(journal.write(denial()));
  EXPECT_EQ(::fchdir(old), 0);
  ::close(old);
  EXPECT_EQ(one(receive(), "WRAPD_COMM"), "curl");
}

}  // namespace
}  // namespace wrapd::audit
