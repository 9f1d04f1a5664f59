// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/credentials.h"
#include "base/idle_memory.h"
#include "base/io.h"
#include "base/json_text.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd {
namespace {

class ScratchDirectory : public ::testing::Test {
 protected:
  test::TemporaryDirectory temporary_;
  std::string directory_ = temporary_.path();
};

using IoTest = ScratchDirectory;

TEST(Printable, EscapesWhatATerminalOrALogWouldActOn) {
  EXPECT_EQ(printable("plain ~"), "plain ~");
  EXPECT_EQ(printable(std::string_view("\0\n\r\t\x1b[\x7f\\", 8)), "\\x00\\x0a\\x0d\\x09\\x1b[\\x7f\\x5c");
  EXPECT_EQ(printable("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // C1 control
  EXPECT_EQ(printable("\u202Etxt"), "\\xe2\\x80\\xaetxt");  // turns round what follows
  EXPECT_EQ(printable("\u2028\u2066"), "\\xe2\\x80\\xa8\\xe2\\x81\\xa6");
  EXPECT_EQ(printable("\u2010\u2030\u2070"), "\u2010\u2030\u2070");
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(printable("a\xe2\x82"), "a\\xe2\\x82");                  // cut
}

std::string utf8(char32_t c) {
  std::string out;
  if (c < 0x80) return {static_cast<char>(c)};
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  out += static_cast<char>((0xFFU << (7 - more) & 0xFF) | c >> (6 * more));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | (c >> (6 * i) & 0x3F));
  return out;
}

bool escaped(char32_t c) {
  std::string out;
  for (char byte : utf8(c)) {
    char text[8];
    std::snprintf(text, sizeof text, "\\x%02x", static_cast<unsigned char>(byte));
    out += text;
  }
  std::string shown = printable(utf8(c));
  EXPECT_TRUE(shown == out || shown == utf8(c)) << shown;
  return shown == out;
}

// The first and the last of each range that must not be shown as it is, and their neighbours, which must.
TEST(Printable, EscapesWhatIsNotSeenUpToItsEdges) {
  struct Edge {
    char32_t first, last;
  };
  constexpr Edge kEdges[] = {{0x00AD, 0x00AD},   {0x034F, 0x034F},   {0x0600, 0x0605},   {0x061C, 0x061C},
                             {0x06DD, 0x06DD},   {0x070F, 0x070F},   {0x0890, 0x0891},   {0x08E2, 0x08E2},
                             {0x115F, 0x1160},   {0x1680, 0x1680},   {0x17B4, 0x17B5},   {0x180B, 0x180F},
                             {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},   {0x2800, 0x2800},
                             {0x3000, 0x3000},   {0x3164, 0x3164},   {0xE000, 0xF8FF},   {0xFDD0, 0xFDEF},
                             {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFC},
                             {0xFFFE, 0xFFFF},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F},
                             {0x13441, 0x13442}, {0x16FE4, 0x16FE4}, {0x1BCA0, 0x1BCA3}, {0x1D159, 0x1D159},
                             {0x1D173, 0x1D17A}, {0x1FFFE, 0x1FFFF}, {0xDFFFE, 0xE0FFF}, {0xEFFFE, 0x10FFFF}};
  for (const Edge& edge : kEdges) {
    SCOPED_TRACE(static_cast<uint32_t>(edge.first));
    EXPECT_FALSE(escaped(edge.first == 0xE000 ? 0xD7FF : edge.first - 1));  // no surrogates
    EXPECT_TRUE(escaped(edge.first));
    EXPECT_TRUE(escaped(edge.last));
    EXPECT_TRUE(edge.last == 0x10FFFF || !escaped(edge.last + 1));
  }
  EXPECT_TRUE(escaped(0x7F));
  EXPECT_TRUE(escaped(0x80));
  EXPECT_TRUE(escaped(0xA0));
  EXPECT_FALSE(escaped(0xA1));
  EXPECT_FALSE(escaped(' '));
}

TEST(Printable, EscapesWhatHidesOrMovesTheRest) {
  constexpr char32_t kHidden[] = {0x061C,  0x200B,  0x200D,  0x2060,  0x2064,  0x206A, 0xFEFF, 0xFE0F, 0xFFF9, 0xFFFB,
                                  0xE0001, 0xE0041, 0xE007F, 0xE0100, 0xE01EF, 0x180E, 0x202E, 0x2069, 0x1D173};
  for (char32_t c : kHidden) {
    EXPECT_TRUE(escaped(c)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Printable, IsCutBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("\n\n\n", 5), "\\x0a\\x0a...");
  EXPECT_EQ(printable("\xe2\x82\xac\xe2\x82\xac", 2), "\xe2\x82\xac...");
}

TEST(WithoutMiddle, KeepsBothEnds) {
  EXPECT_EQ(without_middle("", 5), "");
  EXPECT_EQ(without_middle("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(without_middle("abcdefghijk", 10), "ab[...]ijk");
  EXPECT_EQ(without_middle("abcdefghijk", 9), "ab[...]jk");
  EXPECT_EQ(without_middle("abcdefghijk", 6), "[...]k");
  EXPECT_EQ(without_middle("abcdefghijk", 5), "[...]");
  EXPECT_EQ(without_middle("abcdefghijk", 0), "[...]");
  const std::string hidden = "/tmp/" + std::string(4000, 'x') + "/docker.sock";
  const std::string shown = without_middle(hidden, 128);
  EXPECT_EQ(shown.size(), 128U);
  EXPECT_TRUE(shown.starts_with("/tmp/xx"));
  EXPECT_TRUE(shown.ends_with("xx/docker.sock"));
}

TEST(WithoutMiddle, CountsCharactersAndLeavesThemWhole) {
  EXPECT_EQ(without_middle("\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5", 7),
            "\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5");
  EXPECT_EQ(without_middle("\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c", 7), "\u65e5[...]\u672c");
  // Escaped: four for each byte, none without its escape, and all bytes of a character or none.
  EXPECT_EQ(without_middle("\n\n\n\n", 16), "\n\n\n\n");
  EXPECT_EQ(printable(without_middle("\n\n\n\n", 15)), "\\x0a[...]\\x0a");
  EXPECT_EQ(printable(without_middle("a\n\n\nb", 12)), "a[...]b");
  EXPECT_EQ(without_middle("a\u200b\u200bb", 26), "a\u200b\u200bb");
  EXPECT_EQ(without_middle("a\u200b\u200bb", 25), "a[...]b");
  EXPECT_EQ(without_middle("\u200b\u200bb", 23), "[...]b");
  for (size_t limit = 5; limit < 64; ++limit) {
    EXPECT_LE(printable(without_middle(std::string(100, '\xe2') + "\n\\tail", limit)).size(), limit);
  }
}

TEST(ConstantTimeEqual, ComparesAll) {
  EXPECT_TRUE(constant_time_equal("", ""));
  EXPECT_TRUE(constant_time_equal("abc", "abc"));
  EXPECT_FALSE(constant_time_equal("abc", "abd"));
  EXPECT_FALSE(constant_time_equal("xbc", "abc"));
  EXPECT_FALSE(constant_time_equal("ab", "abc"));
}

TEST(RandomHex, LengthAlphabetAndNoRepetition) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    std::string text = random_hex(16);
    EXPECT_EQ(text.size(), 32U);
    EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(seen.insert(text).second);
  }
  EXPECT_EQ(random_hex(1000).size(), 2000U);
  EXPECT_EQ(random_hex(0), "");
}

TEST_F(IoTest, ReadsRegularFilesUpToTheLimit) {
  std::string path = directory_ + "/f";
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  std::string content(100000, 'x');
  ASSERT_TRUE(write_all(fd.get(), content));
  EXPECT_EQ(read_file(path, 100000).value(), content);
  auto over = read_file(path, 99999);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, EFBIG);
  auto missing = read_file(directory_ + "/no\n", 1);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_EQ(missing.error().message.find('\n'), std::string::npos);
}

TEST_F(IoTest, DoesNotReadWhatIsNoFile) {
  EXPECT_FALSE(read_file(directory_, 100));
  EXPECT_FALSE(read_file("/dev/zero", 100));
  std::string fifo = directory_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_FALSE(read_file(fifo, 100));  // and does not wait for a writer
}

TEST(SealedMemfd, CannotBeChangedAnyMore) {
  std::string content = "content";
  auto fd = sealed_memfd("test", std::as_bytes(std::span(content)));
  ASSERT_TRUE(fd);
  EXPECT_EQ(::fcntl(fd->get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::pwrite(fd->get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(fd->get(), 0), -1);
  EXPECT_EQ(::ftruncate(fd->get(), 100), -1);
  EXPECT_EQ(::fcntl(fd->get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
  auto mapping = SealedMapping::map(fd->get(), content.size());
  ASSERT_TRUE(mapping) << mapping.error().message;
  SealedMapping moved = std::move(*mapping);
  ASSERT_EQ(moved.bytes().size(), content.size());
  EXPECT_EQ(std::memcmp(moved.bytes().data(), content.data(), content.size()), 0);
  auto small = SealedMapping::map(fd->get(), content.size() - 1);
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code, EFBIG);
}

TEST_F(IoTest, MapsNothingThatCouldChange) {
  constexpr std::array kSeals{F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE};
  for (int missing : kSeals) {
    UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_TRUE(write_all(fd.get(), "x"));
    // F_SEAL_SEAL last, or nothing could follow.
    for (auto seal = kSeals.rbegin(); seal != kSeals.rend(); ++seal) {
      if (*seal == missing) continue;
      ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, *seal), 0);
    }
    auto mapping = SealedMapping::map(fd.get(), 10);
    ASSERT_FALSE(mapping) << missing;
    EXPECT_EQ(mapping.error().code, EPERM);
  }
  UniqueFd empty(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_TRUE(seal_memfd(empty.get()));
  EXPECT_FALSE(SealedMapping::map(empty.get(), 10));
  UniqueFd file(::open((directory_ + "/f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(write_all(file.get(), "x"));
  EXPECT_FALSE(SealedMapping::map(file.get(), 10));
  EXPECT_FALSE(SealedMapping::map(-1, 10));
}

TEST(PeerCredentials, AreTheKernels) {
  std::array<int, 2> ends;
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  UniqueFd a(ends[0]), b(ends[1]);
  auto peer = peer_credentials(a.get(), true);
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  std::vector<gid_t> groups(static_cast<size_t>(::getgroups(0, nullptr)));
  ASSERT_EQ(::getgroups(static_cast<int>(groups.size()), groups.data()), static_cast<int>(groups.size()));
  EXPECT_EQ(peer->groups, groups);
  auto pidfd = peer_pidfd(a.get());
  ASSERT_TRUE(pidfd) << pidfd.error().message;
  EXPECT_TRUE(pidfd_alive(pidfd->get()));
  UniqueFd unconnected(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  EXPECT_FALSE(peer_credentials(unconnected.get(), false));
  EXPECT_FALSE(peer_credentials(-1, false));
}

TEST(PeerCredentials, ManyGroups) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root to have groups";
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::vector<gid_t> groups;
    for (gid_t g = 0; g < 500; ++g) groups.push_back(10000 + g);
    if (::setgroups(groups.size(), groups.data()) != 0) ::_exit(2);
    std::array<int, 2> ends;
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) ::_exit(3);
    auto peer = peer_credentials(ends[0], true);
    ::_exit(peer && peer->groups == groups ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(PidfdAlive, UntilTheProcessHasExited) {
  std::array<int, 2> ends;
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd wait(ends[0]), go(ends[1]);
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    go.reset();
    char byte = 0;
    (void)!::read(wait.get(), &byte, 1);
    ::_exit(0);
  }
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(pidfd);
  EXPECT_TRUE(pidfd_alive(pidfd.get()));
  go.reset();
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(pidfd_alive(pidfd.get()));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(pidfd_alive(pidfd.get()));
}

TEST(JsonText, EscapesAndOrders) {
  std::string out;
  JsonObjectWriter writer(out);
  writer.string("a\"", "x\\\"\n\x01\xc3\xa4");
  writer.number("n", UINT64_MAX);
  writer.boolean("t", true);
  writer.json("r", "[]");
  writer.finish();
  EXPECT_EQ(out, "{\"a\\\"\":\"x\\\\\\\"\\u000a\\u0001\xc3\xa4\",\"n\":18446744073709551615,\"t\":true,\"r\":[]}");
}

// Of this program's own file, in kB: what is mapped, and what of it was written to.
struct Mapped {
  size_t resident = 0;
  size_t written = 0;
};

Mapped mapped_of_program() {
  std::ifstream maps("/proc/self/smaps");
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  Mapped mapped;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string name;
    size_t value = 0;
    words >> name;
    if (name.find('-') != std::string::npos) ours = line.ends_with(program);
    if (!ours || !(words >> value)) continue;
    if (name == "Rss:") mapped.resident += value;
    if (name == "Anonymous:") mapped.written += value;
  }
  return mapped;
}

int written_before = 1;

TEST(IdleMemory, GivesBackWhatIsAsOnDisk) {
  written_before = 7;
  const Mapped before = mapped_of_program();
  release_program_pages();
  const Mapped after = mapped_of_program();  // runs again what it takes to look
  EXPECT_LT(after.resident, before.resident);
  EXPECT_GE(after.written, before.written) << "what was written, or relocated, stays";
  EXPECT_EQ(written_before, 7);
  EXPECT_EQ(fail_errno("it", ENOENT).error().message, "it: No such file or directory") << "and all still runs";
}

TEST(FailErrno, OneLineWithTheErrorsText) {
  auto failed = fail_errno("cannot x", ENOENT);
  EXPECT_EQ(failed.error().message, "cannot x: No such file or directory");
  EXPECT_EQ(failed.error().code, ENOENT);
  EXPECT_EQ(fail_errno("x", 100000).error().message, "x: unknown error");
}

}  // namespace
}  // namespace wrapd
