// SPDX-License-Identifier: Apache-2.0
#include "policyfile/load.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/io.h"
#include "base/unique_fd.h"
#include "policy_testing.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd::policy {

using namespace policyfile;  // NOLINT(google-build-using-namespace): of one test

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

std::vector<fs::path> corpus(const char* name) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(fs::path(WRAPD_TEST_POLICIES) / name)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

std::string content(const fs::path& path) {
  auto text = read_file(path.string(), kMaxPolicyText);
  EXPECT_TRUE(text);
  return text.value_or("");
}

TEST(LoadPolicy, BadFilesAreRefusedWithTheExpectedMessage) {
  auto files = corpus("bad");
  EXPECT_GT(files.size(), 100U);
  for (const auto& path : files) {
    SCOPED_TRACE(path.filename());
    std::string text = content(path);
    std::string first = text.substr(0, text.find('\n'));
    ASSERT_TRUE(first.starts_with("# expect: "));
    auto policy = load_policy(text, "FILE");
    ASSERT_FALSE(policy);
    EXPECT_EQ(policy.error().message, "FILE:" + first.substr(10));
    EXPECT_EQ(policy.error().message.find('\n'), std::string::npos);
  }
}

TEST(LoadPolicy, GoodFilesLoadAndCompile) {
  auto files = corpus("good");
  EXPECT_GE(files.size(), 6U);
  for (const auto& path : files) {
    SCOPED_TRACE(path.filename());
    auto policy = load_policy(content(path), "FILE");
    ASSERT_TRUE(policy) << policy.error().message;
    EXPECT_TRUE(compile_rules(*policy, alice()));
  }
}

TEST(LoadPolicy, DefaultsAreTheStrictOnes) {
  auto policy = load_policy("version: 1\nname: p\n", "f");
  ASSERT_TRUE(policy);
  EXPECT_EQ(policy->name, "p");
  EXPECT_EQ(policy->file, "f");
  EXPECT_EQ(policy->effective_mode(), Mode::enforce);
  EXPECT_EQ(policy->mode_of(Class::unix_socket), Mode::enforce);
  EXPECT_FALSE(policy->monitor_unsupported);
  EXPECT_FALSE(policy->of(Class::unix_socket).rules.has_value());
  EXPECT_EQ(policy->approval.timeout_seconds, 0U) << "not said";
  EXPECT_EQ(policy->approval.rate, 0U);
  EXPECT_EQ(policy->approval.burst, 0U);
  EXPECT_FALSE(policy->judges(Class::unix_socket));
}

TEST(LoadPolicy, EmptyListJudges) {
  auto policy = load_policy("version: 1\nname: p\nunix_socket_rules: []\n", "f");
  ASSERT_TRUE(policy);
  EXPECT_TRUE(policy->judges(Class::unix_socket));
}

TEST(LoadPolicy, TakesEverythingOver) {
  auto policy = load_policy(R"(version: 1
name: p
sandbox:
  seccomp: {mode: audit, unix_socket: {action: audit}}
  on_unsupported: monitor
unix_socket_rules:
  - name: a
    paths: ["/a", "@b"]
    operations: [connect, listen]
    decision: audit
    guidance: >
      One line,
      folded.
  - {name: b, paths: ["/b"], decision: allow}
  - {name: c, paths: ["/c"], decision: deny}
  - {name: d, paths: ["/d"], decision: ask}
approval: {timeout: 2m, rate: 3, burst: 7}
)",
                            "f");
  ASSERT_TRUE(policy) << policy.error().message;
  EXPECT_EQ(policy->mode, Mode::audit);
  EXPECT_EQ(policy->of(Class::unix_socket).action, Mode::audit);
  EXPECT_TRUE(policy->monitor_unsupported);
  ASSERT_EQ(policy->of(Class::unix_socket).rules->size(), 4U);
  const auto& a = policy->of(Class::unix_socket).rules->at(0);
  EXPECT_EQ(a.name, "a");
  EXPECT_THAT(a.patterns, ElementsAre(testing::Field(&Pattern::text, "/a"), testing::Field(&Pattern::text, "@b")));
  EXPECT_TRUE(a.patterns[1].abstract);
  EXPECT_EQ(a.operations, kConnect | kListen);
  EXPECT_EQ(a.decision, Verdict::audit);
  EXPECT_EQ(a.guidance, "One line, folded.");
  EXPECT_EQ(a.line, 7);
  EXPECT_EQ(policy->of(Class::unix_socket).rules->at(1).operations, kAll);
  EXPECT_EQ(policy->of(Class::unix_socket).rules->at(1).decision, Verdict::allow);
  EXPECT_EQ(policy->of(Class::unix_socket).rules->at(2).decision, Verdict::deny);
  EXPECT_EQ(policy->of(Class::unix_socket).rules->at(3).decision, Verdict::ask);
  EXPECT_EQ(policy->approval.timeout_seconds, 120U);
  EXPECT_EQ(policy->approval.rate, 3U);
  EXPECT_EQ(policy->approval.burst, 7U);
}

TEST(LoadPolicy, EverySwitchSwitches) {
  for (const char* off : {"seccomp: {enabled: false}", "seccomp: {mode: disabled}",
                          "seccomp: {unix_socket: {enabled: false}}", "unix_sockets: {enabled: false}",
                          "{seccomp: {unix_socket: {enabled: false}}, unix_sockets: {enabled: true}}"}) {
    auto policy =
        load_policy("version: 1\nname: p\nunix_socket_rules: []\nsandbox:\n  " + std::string(off) + "\n", "f");
    ASSERT_TRUE(policy) << policy.error().message;
    EXPECT_FALSE(policy->judges(Class::unix_socket)) << off;
  }
}

TEST(LoadPolicy, RefusesWhatNoCommentCanStandIn) {
  auto message = [](std::string_view text) {
    auto policy = load_policy(text, "f");
    return policy ? std::string("accepted") : policy.error().message;
  };
  EXPECT_EQ(message(""), "f:1:1: the file is empty; begin with 'version: 1'");
  EXPECT_EQ(message("\xef\xbb\xbfversion: 1\nname: p\n"), "f:1:1: byte order mark; save the file as UTF-8 without one");
  EXPECT_THAT(message(std::string_view("v\0e\0r\0", 6)), HasSubstr("f:1:2: control character"));
  EXPECT_THAT(message("%YAML 3.0\n---\nversion: 1\nname: p\n"), HasSubstr("f:1:"));
  EXPECT_THAT(message("*a"), HasSubstr("f:1:1: aliases are not supported"));
  EXPECT_THAT(message(std::string(kMaxPolicyText + 1, ' ')), HasSubstr("f:1:1: larger than 8388608 bytes"));
}

TEST(LoadPolicy, BoundsTheNumberOfRules) {
  std::string text = "version: 1\nname: p\nunix_socket_rules:\n";
  for (int i = 0; i < 20000; ++i) {
    text += "- {name: r" + std::to_string(i) + ", paths: [/a], decision: deny}\n";
  }
  auto most = load_policy(text, "f");
  ASSERT_TRUE(most) << most.error().message;
  EXPECT_EQ(most->of(Class::unix_socket).rules->size(), 20000U);
  text += "- {name: more, paths: [/a], decision: deny}\n";
  auto more = load_policy(text, "f");
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message, "f:20004:3: more than 20000 rules; use wildcards");
}

// Files and directories with the owners and modes that matter. Needs root for the owners.
class LoadPolicyFile : public testing::Test {
 protected:
  void SetUp() override {
    file_ = directory_ / "p.yaml";
    std::ofstream(file_) << "version: 1\nname: p\n";
    ASSERT_EQ(::chmod(file_.c_str(), 0644), 0);
  }
  std::string trusted(const fs::path& path) {
    auto policy = load_policy_file(path.string(), true);
    return policy ? "ok" : policy.error().message;
  }
  void need_root() {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
  test::TemporaryDirectory temporary_;
  fs::path directory_ = temporary_.path();
  fs::path file_;
};

TEST_F(LoadPolicyFile, UntrustedReadsWhatIsReadable) {
  ASSERT_EQ(::chmod(file_.c_str(), 0666), 0);
  EXPECT_TRUE(load_policy_file(file_.string(), false));
  auto missing = load_policy_file((directory_ / "none").string(), false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  auto itself = load_policy_file(directory_.string(), false);
  ASSERT_FALSE(itself);
  EXPECT_THAT(itself.error().message, HasSubstr("not a regular file"));
}

TEST_F(LoadPolicyFile, ErrorsNameTheFile) {
  std::ofstream(file_) << "version: 2\nname: p\n";
  auto policy = load_policy_file(file_.string(), false);
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().message, file_.string() + ":1:10: unknown version '2'; write 1, without quotes");
}

TEST_F(LoadPolicyFile, TrustedAcceptsRootsOwn) {
  need_root();
  if (IsSkipped()) return;
  EXPECT_EQ(trusted(file_), "ok");
}

TEST_F(LoadPolicyFile, TrustedRefusesWhatOthersCanWrite) {
  for (mode_t mode : {0664U, 0646U, 0666U}) {
    ASSERT_EQ(::chmod(file_.c_str(), mode), 0);
    if (::geteuid() == 0) {
      EXPECT_EQ(trusted(file_), file_.string() + ": others than root can write it; run 'chmod go-w' on it");
    } else {
      EXPECT_NE(trusted(file_), "ok");
    }
  }
}

TEST_F(LoadPolicyFile, TrustedRefusesOthersFiles) {
  need_root();
  if (IsSkipped()) return;
  ASSERT_EQ(::chown(file_.c_str(), 65534, 0), 0);
  EXPECT_EQ(trusted(file_), file_.string() + ": belongs to user 65534, not to root; run 'chown root' on it");
}

TEST_F(LoadPolicyFile, TrustedRefusesOthersDirectories) {
  need_root();
  if (IsSkipped()) return;
  for (mode_t mode : {0777U, 01777U, 0775U}) {
    ASSERT_EQ(::chmod(directory_.c_str(), mode), 0);
    EXPECT_EQ(trusted(file_),
              file_.string() + ": its directory: others than root can write it; run 'chmod go-w' on it");
  }
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  ASSERT_EQ(::chown(directory_.c_str(), 65534, 0), 0);
  EXPECT_THAT(trusted(file_), HasSubstr("its directory: belongs to user 65534"));
}

TEST_F(LoadPolicyFile, TrustedRefusesLinksAndOtherKinds) {
  need_root();
  if (IsSkipped()) return;
  fs::create_symlink(file_, directory_ / "link.yaml");
  EXPECT_THAT(trusted(directory_ / "link.yaml"), EndsWith(": a symbolic link; put the file itself there"));
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0644), 0);
  EXPECT_THAT(trusted(directory_ / "fifo"), EndsWith(": not a regular file"));
}

}  // namespace
}  // namespace wrapd::policy
