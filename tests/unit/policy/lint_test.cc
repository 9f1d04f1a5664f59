// SPDX-License-Identifier: Apache-2.0
#include "policyfile/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "policy/pattern.h"
#include "policy_testing.h"
#include "policyfile/load.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::policy {

using namespace policyfile;  // NOLINT(google-build-using-namespace): of one test

namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Lint : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(top_ + "/real/sub"); }
  void link(const std::string& name, const std::string& target) const {
    ASSERT_EQ(::symlink(target.c_str(), (top_ + "/" + name).c_str()), 0);
  }
  [[nodiscard]] std::vector<Remark> look(const std::string& pattern, Verdict decision = Verdict::deny) const {
    EXPECT_TRUE(parse_pattern(top_ + pattern)) << pattern;
    return lint(make_policy({make_rule("r", {top_ + pattern}, decision)}));
  }
  // What the only remark wants written instead.
  [[nodiscard]] std::string instead_of(const std::string& pattern) const {
    auto remarks = look(pattern);
    if (remarks.size() != 1) return std::to_string(remarks.size()) + " remarks";
    const std::string& text = remarks[0].text;
    const size_t at = text.rfind("; write \"") + 9;
    std::string out = text.substr(at, text.size() - at - 1);
    EXPECT_TRUE(out.starts_with(top_)) << text;
    return out.substr(std::min(top_.size(), out.size()));
  }
  test::TemporaryDirectory temporary_;
  std::string top_ = temporary_.path();
};

TEST_F(Lint, NamesTheLinkAndWhatToWrite) {
  link("run", top_ + "/real");
  auto remarks = look("/run/docker*.sock");
  ASSERT_THAT(remarks, SizeIs(1));
  EXPECT_TRUE(remarks[0].void_denial);
  EXPECT_EQ(remarks[0].text, top_ + "/run is a symbolic link to " + top_ +
                                 "/real, and what is judged is the real path: \"" + top_ +
                                 "/run/docker*.sock\" matches nothing; write \"" + top_ + "/real/docker*.sock\"");
}

TEST_F(Lint, SaysWhereItStands) {
  link("run", "real");
  const std::string text = "version: 1\nname: p\nunix_socket_rules:\n  - {name: r, paths: [\"/a\", \"" + top_ +
                           "/run/*\"], decision: deny}\n";
  auto policy = load_policy(text, "f.yaml");
  ASSERT_TRUE(policy) << policy.error().message;
  auto remarks = lint(*policy);
  ASSERT_THAT(remarks, SizeIs(1));
  EXPECT_EQ(remarks[0].place, "f.yaml:4:29");
  EXPECT_TRUE(remarks[0].as_warning().starts_with("f.yaml:4:29: warning: /"));
}

TEST_F(Lint, OnlyAWildcardMakesADenialVoid) {
  link("run", "real");
  for (auto [decision, restricts] :
       {std::pair{Verdict::deny, true}, {Verdict::ask, true}, {Verdict::allow, false}, {Verdict::audit, false}}) {
    for (const char* pattern : {"/run/*", "/run/**", "/run/a?", "/run/sub/*/x"}) {
      auto remarks = look(pattern, decision);
      ASSERT_THAT(remarks, SizeIs(1)) << pattern;
      EXPECT_EQ(remarks[0].void_denial, restricts) << pattern;
      EXPECT_THAT(remarks[0].text, HasSubstr("matches nothing"));
    }
    auto literal = look("/run/a\\*.sock", decision);
    ASSERT_THAT(literal, SizeIs(1));
    EXPECT_FALSE(literal[0].void_denial);
    EXPECT_THAT(literal[0].text, HasSubstr(restricts ? "by device and inode" : "matches nothing"));
  }
}

TEST_F(Lint, SilentWhereThePathIsReal) {
  link("real/socket", "elsewhere");  // the last part is not on the way
  for (const char* pattern : {"/real/*", "/real/sub/**", "/real/socket", "/absent/x*", "/real/sub/absent/*", "/*/x",
                              "/real*/x", "/${USER}/x"}) {
    EXPECT_THAT(look(pattern), IsEmpty()) << pattern;
  }
  EXPECT_THAT(lint(make_policy({make_rule("r", {"@" + top_ + "/*", "${HOME}/*", "/**"}, Verdict::deny)})), IsEmpty());
}

TEST_F(Lint, GoesWhereLinksLead) {
  link("relative", "real");
  link("up", "real/../real/./sub");
  link("twice", "relative/sub");
  link("gone", "absent/further");
  link("gone_up", "absent/../real");
  link("st*r", "real");
  fs::create_directory(top_ + "/b[r]");
  link("odd", "b[r]");
  link("above", "../../../../../../.." + top_ + "/real");
  EXPECT_EQ(instead_of("/relative/x*"), "/real/x*");
  EXPECT_EQ(instead_of("/up/*"), "/real/sub/*");
  EXPECT_EQ(instead_of("/twice/${USER}/*"), "/real/sub/${USER}/*");
  EXPECT_EQ(instead_of("/relative/sub/deeper/*"), "/real/sub/deeper/*");
  EXPECT_EQ(instead_of("/gone/*"), "/absent/further/*");
  EXPECT_EQ(instead_of("/gone_up/*"), "/real/*");
  EXPECT_EQ(instead_of("/st\\*r/*"), "/real/*");
  EXPECT_EQ(instead_of("/odd/*"), "/b\\x5c[r\\x5c]/*");  // backslashes, as they are shown
  EXPECT_EQ(instead_of("/above/*"), "/real/*");
}

TEST_F(Lint, GivesUpOnLoopsAndDepth) {
  link("a", "b");
  link("b", "a");
  EXPECT_THAT(look("/a/*"), IsEmpty());
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "/d";
  fs::create_directories(top_ + deep);
  EXPECT_THAT(look(deep + "/*"), IsEmpty());
}

TEST_F(Lint, BoundsWhatItSays) {
  link("run", "real");
  std::vector<std::string> paths;
  for (size_t i = 0; i < 2 * kMaxRemarks; ++i) paths.push_back(top_ + "/run/" + std::to_string(i) + "*");
  EXPECT_THAT(lint(make_policy({make_rule("r", paths, Verdict::deny)})), SizeIs(kMaxRemarks));
}

TEST_F(Lint, EscapesWhatTheLinkHolds) {
  link("run", "\x1b[31m\n");
  auto remarks = look("/run/*");
  ASSERT_THAT(remarks, SizeIs(1));
  EXPECT_THAT(remarks[0].text, HasSubstr("\\x1b[31m\\x0a"));
  EXPECT_EQ(remarks[0].text.find_first_of("\x1b\n"), std::string::npos);
}

}  // namespace
}  // namespace wrapd::policy
