// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wrapd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;

class OptionsTest : public ::testing::Test {
 protected:
  Result<Options> parse(std::vector<std::string> words) {
    words_ = std::move(words);
    words_.insert(words_.begin(), "wrap");
    argv_.clear();
    for (std::string& word : words_) argv_.push_back(word.data());
    argv_.push_back(nullptr);
    return parse_options(static_cast<int>(words_.size()), argv_.data());
  }
  std::string error(std::vector<std::string> words) {
    auto parsed = parse(std::move(words));
    return parsed ? "no error" : parsed.error().message;
  }
  std::vector<std::string> words_;
  std::vector<char*> argv_;
};

TEST_F(OptionsTest, OptionsEndAtTheFirstWord) {
  auto options = parse({"--quiet", "ls", "--policy", "x", "--help"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_TRUE(options->quiet);
  EXPECT_FALSE(options->policy);
  EXPECT_THAT(options->command, ElementsAre(StrEq("ls"), StrEq("--policy"), StrEq("x"), StrEq("--help")));
}

TEST_F(OptionsTest, TwoDashesEndOptions) {
  auto options = parse({"--policy", "agents", "--", "--odd", "--", "x"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->policy, "agents");
  EXPECT_THAT(options->command, ElementsAre(StrEq("--odd"), StrEq("--"), StrEq("x")));
}

TEST_F(OptionsTest, TakesAll) {
  auto options = parse({"--profile=p.yaml", "--audit-log", "a", "--mode", "audit", "--keep-fd", "3", "--keep-fd=7",
                        "--keep-fd=3", "--keep-fd=1", "--status-fd=4", "true"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->profile, "p.yaml");
  EXPECT_EQ(options->audit_log, "a");
  EXPECT_TRUE(options->audit);
  EXPECT_EQ(options->status_fd, 4);
  EXPECT_THAT(options->keep_fds, ElementsAre(3, 7));
}

TEST_F(OptionsTest, ParsesAfreshEachTime) {
  ASSERT_TRUE(parse({"--quiet", "a", "b"}));
  auto options = parse({"--standalone", "c"});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->standalone);
  EXPECT_FALSE(options->quiet);
}

TEST_F(OptionsTest, HelpAndVersionNeedNoCommand) {
  EXPECT_EQ(parse({"--help"})->action, Options::Action::help);
  EXPECT_EQ(parse({"--version"})->action, Options::Action::version);
  EXPECT_EQ(parse({"--explain"})->action, Options::Action::explain);
}

TEST_F(OptionsTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(error({}), HasSubstr("no command given"));
  EXPECT_THAT(error({"--quiet"}), HasSubstr("no command given"));
  EXPECT_THAT(error({"--network=yes", "x"}), HasSubstr("unknown option or value: --network=yes"));
  EXPECT_THAT(error({"--mode", "disabled", "--profile", "p", "x"}), HasSubstr("only audit"));
  EXPECT_THAT(error({"--mode", "audit", "x"}), HasSubstr("never the administrator's policy"));
  EXPECT_THAT(error({"--standalone", "--policy", "x", "y"}), HasSubstr("use --profile FILE"));
  EXPECT_THAT(error({"--policy"}), HasSubstr("--policy needs a value"));
  EXPECT_THAT(error({"--no-such", "x"}), HasSubstr("--no-such"));
  EXPECT_THAT(error({"-x", "y"}), HasSubstr("unknown option -x"));
  EXPECT_THAT(error({"--quiet=3", "y"}), HasSubstr("--quiet=3"));
}

TEST_F(OptionsTest, RefusesWhatIsNoDescriptor) {
  for (const char* bad : {"", "x", "-1", "3x", " 3", "99999999999999", "0x3"}) {
    EXPECT_THAT(error({std::string("--keep-fd=") + bad, "x"}), HasSubstr("not a descriptor")) << bad;
    EXPECT_THAT(error({std::string("--status-fd=") + bad, "x"}), HasSubstr("not a descriptor")) << bad;
  }
}

TEST_F(OptionsTest, ErrorsAreOneLineWithoutControlCharacters) {
  for (const std::string& message :
       {error({"--mode", "a\nb\033[31m", "x"}), error({"--zz\n\033]0;x\a", "x"}), error({"--keep-fd", "\n", "x"})}) {
    EXPECT_EQ(message.find_first_of("\n\033\a"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace wrapd::client
