// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/text.h"

#include <gtest/gtest.h>

#include <clocale>

#include "client/wrapctl/explain.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/table.h"

namespace wrapd::wrapctl {
namespace {

class Text : public ::testing::Test {
 protected:
  Text() { EXPECT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr); }
};

TEST_F(Text, SafeTextEscapesWhatTerminalsActOn) {
  EXPECT_EQ(safe_text("a\x1b[31m\n\tb"), "a\\x1b[31m\\x0a\\x09b");
  EXPECT_EQ(safe_text("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(safe_text("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(safe_text("\u65e5"), "\u65e5");
}

TEST_F(Text, SafeTextLeavesEscapesAsTheyAre) {
  EXPECT_EQ(safe_text("\\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(safe_text(safe_text("\x1b\\\n")), safe_text("\x1b\\\n"));
  EXPECT_EQ(safe_text("\\"), "\\");
  EXPECT_EQ(safe_text(""), "");
}

TEST_F(Text, CutCountsColumns) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdef", 5), "ab\u2026ef");
  EXPECT_EQ(cut("abcdef", 4), "ab\u2026f");
  EXPECT_EQ(cut("\u65e5\u672c\u8a9e", 6), "\u65e5\u672c\u8a9e");
  EXPECT_EQ(cut("\u65e5\u672c\u8a9e", 5), "\u65e5\u2026\u8a9e");
  EXPECT_EQ(cut("\u65e5\u672c\u8a9e", 4), "\u65e5\u2026");
  EXPECT_EQ(cut("abc", 1), "\u2026");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST_F(Text, CutKeepsBothEndsAndWholeEscapes) {
  const std::string hidden = "/tmp/" + std::string(4000, 'x') + "/docker.sock";
  const std::string shown = cut(hidden, 40);
  EXPECT_EQ(columns_of(shown), 40U);
  EXPECT_TRUE(shown.starts_with("/tmp/xx")) << shown;
  EXPECT_TRUE(shown.ends_with("xx/docker.sock")) << shown;
  EXPECT_EQ(cut("a\\x1b\\x0ab", 10), "a\\x1b\\x0ab");
  EXPECT_EQ(cut("a\\x1b\\x0ab", 9), "a\u2026b");
  EXPECT_EQ(cut("\\x1b\\x0a", 7), "\u2026");
  EXPECT_EQ(cut("\\x1b\\x0a\\x0b", 9), "\\x1b\u2026\\x0b");
  // A mark stays with its letter.
  EXPECT_EQ(cut("abcde\u0301", 3), "a\u2026e\u0301");
  EXPECT_EQ(cut("a\u0301bcde", 3), "a\u0301\u2026e");
}

TEST_F(Text, AgeAndTime) {
  constexpr uint64_t kSecond = 1'000'000;
  EXPECT_EQ(age(0, 59 * kSecond), "59s");
  EXPECT_EQ(age(0, 60 * kSecond), "1min");
  EXPECT_EQ(age(0, 3600 * kSecond), "1h");
  EXPECT_EQ(age(0, 86400 * kSecond), "1d");
  EXPECT_EQ(age(5, 4), "0s");
  EXPECT_EQ(rfc3339(1767225600123456), "2026-01-01T00:00:00.123Z");
  EXPECT_EQ(rfc3339(5000), "1970-01-01T00:00:00.005Z");
}

TEST_F(Text, TheLastColumnGivesWayFirst) {
  Table table({"A", "B"});
  table.add({{"first"}, {std::string(100, 'x')}});
  EXPECT_EQ(table.render(30), "A      B\nfirst  " + std::string(11, 'x') + "\u2026" + std::string(11, 'x') + "\n");
  EXPECT_EQ(table.render(std::nullopt), "A      B\nfirst  " + std::string(100, 'x') + "\n");
}

TEST_F(Text, ErrorsOfAnotherVersionSaySo) {
  BusError error = explain({"System.Error.ENXIO", "No such device or address"}, "cannot list");
  EXPECT_EQ(error.name, "System.Error.ENXIO");
  EXPECT_NE(error.message.find("another version"), std::string::npos);
}

TEST_F(Text, IdsAreFoundByTheirBeginning) {
  const std::vector<std::string> ids{"abcd1", "abcd2", "beef0"};
  EXPECT_EQ(find_id(ids, "beef", "session"), "beef0");
  EXPECT_EQ(find_id(ids, "abcd1", "session"), "abcd1");
  EXPECT_FALSE(find_id(ids, "abcd", "session"));
  EXPECT_FALSE(find_id(ids, "bee", "session"));
  EXPECT_FALSE(find_id(ids, "abcd12", "session"));
}

}  // namespace
}  // namespace wrapd::wrapctl
