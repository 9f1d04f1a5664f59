// SPDX-License-Identifier: Apache-2.0

// The real wrap-compile on real files: what it writes to its three outputs, and its one line of error.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "plan/plan.h"
#include "policy/rules.h"
#include "tests/lib/temporary_directory.h"

namespace wrapd {
namespace {

UniqueFd scratch() {
  return UniqueFd(memfd_create("scratch", MFD_CLOEXEC));
}

std::string content(const UniqueFd& fd) {
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_SET), 0);
  return read_all(fd.get(), 64U << 20).value_or("unreadable");
}

struct Output {
  int exit_status = -1;
  std::string json;
  std::string error;
  std::string rules;
  std::string filter;
};

class WrapCompileTest : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string file = directory_ / "profile.yaml";
    std::ofstream(file) << text;
    return file;
  }

  // Runs it in `directory_` with only these variables in its environment.
  Output run(std::vector<std::string> words, std::vector<std::string> environment = {}) {
    const UniqueFd rules = scratch(), filter = scratch(), out = scratch(), err = scratch();
    words.insert(words.begin(), WRAP_COMPILE);
    for (std::string& word : words) {
      if (word == "RULES") word = std::to_string(rules.get());
      if (word == "FILTER") word = std::to_string(filter.get());
    }
    if (const char* options = std::getenv("ASAN_OPTIONS"))
      environment.push_back(std::string("ASAN_OPTIONS=") + options);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, directory_.c_str());
    posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.get(), STDERR_FILENO);
    for (const UniqueFd* kept : {&rules, &filter}) posix_spawn_file_actions_adddup2(&actions, kept->get(), kept->get());
    auto pointers = [](std::vector<std::string>& strings) {
      std::vector<char*> list;
      for (std::string& s : strings) list.push_back(s.data());
      list.push_back(nullptr);
      return list;
    };
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, WRAP_COMPILE, &actions, nullptr, pointers(words).data(), pointers(environment).data()),
              0);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content(out), content(err), content(rules), content(filter)};
  }
  Output compile(const std::string& text, std::vector<std::string> environment = {}) {
    return run({"--rules-fd", "RULES", "--filter-fd", "FILTER", "--", write(text)}, std::move(environment));
  }

  wrapd::test::TemporaryDirectory temporary_;
  std::filesystem::path directory_ = temporary_.path();
};

std::string profile(const std::string& seccomp, const std::string& path) {
  return "version: 1\nname: mine\nsandbox:\n  seccomp: " + seccomp +
         "\nunix_socket_rules:\n  - {name: only, paths: [\"" + path + "\"], operations: [connect], decision: allow}\n";
}

bool allows(const std::string& block, const std::string& path) {
  Result<policy::RuleSet> rules = policy::RuleSet::open(std::as_bytes(std::span(block)));
  EXPECT_TRUE(rules) << rules.error().message;
  return rules && rules->judge(policy::with_path(policy::Operation::connect, path)).verdict == policy::Verdict::allow;
}

bool is_filter(const std::string& bytes, plan::TrapSet traps) {
  const std::vector<sock_filter> expected = plan::compile_filter(traps);
  return bytes.size() == expected.size() * sizeof(sock_filter) &&
         std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0;
}

TEST_F(WrapCompileTest, WritesRulesFilterAndDescription) {
  // /tmp is open to everybody, so names can move there.
  const Output o = compile(profile("{mode: enforce}", "/tmp/some/*.sock"));
  ASSERT_EQ(o.exit_status, 0) << o.error;
  EXPECT_EQ(o.error, "");
  EXPECT_EQ(nlohmann::json::parse(o.json),
            nlohmann::json::parse(R"({"version":1,"compiled":"profile","policy":"mine","mode":"enforce","confinement":
          {"filtered":true,"traps":["sockets","socket_creation","rename_link"],"scopes":["signal","abstract_socket"],"on_unsupported":"deny"},
          "notices":[]})"));
  EXPECT_EQ(std::ranges::count(o.json, '\n'), 1);
  EXPECT_TRUE(allows(o.rules, "/tmp/some/a.sock"));
  EXPECT_FALSE(allows(o.rules, "/tmp/other/a.sock"));
  EXPECT_TRUE(
      is_filter(o.filter, {plan::TrapGroup::sockets, plan::TrapGroup::socket_creation, plan::TrapGroup::rename_link}));
}

TEST_F(WrapCompileTest, AuditOverridesTheProfile) {
  const std::string file = write(profile("{mode: enforce}", "/tmp/x"));
  const Output o = run({"--rules-fd", "RULES", "--filter-fd", "FILTER", "--mode", "audit", file});
  ASSERT_EQ(o.exit_status, 0) << o.error;
  const auto json = nlohmann::json::parse(o.json);
  EXPECT_EQ(json.at("mode"), "audit");
  EXPECT_EQ(json.at("confinement").at("scopes"), nlohmann::json::array({"signal"}));
  EXPECT_EQ(policy::RuleSet::open(std::as_bytes(std::span(o.rules)))->mode(policy::Class::unix_socket),
            policy::Mode::audit);
}

TEST_F(WrapCompileTest, ADisabledProfileHasNoFilter) {
  const Output o = compile(profile("{mode: disabled}", "/tmp/x"));
  ASSERT_EQ(o.exit_status, 0) << o.error;
  EXPECT_EQ(o.filter, "");
  const auto json = nlohmann::json::parse(o.json);
  EXPECT_EQ(json.at("confinement").at("filtered"), false);
  EXPECT_EQ(json.at("confinement").at("traps"), nlohmann::json::array());
  EXPECT_EQ(json.at("mode"), "disabled");
}

TEST_F(WrapCompileTest, FillsInVariables) {
  const std::string enforce = "{mode: enforce}";
  EXPECT_TRUE(allows(compile(profile(enforce, "${HOME}/s"), {"HOME=/home/somebody"}).rules, "/home/somebody/s"));
  EXPECT_TRUE(
      allows(compile(profile(enforce, "${CWD}/s")).rules, (std::filesystem::canonical(directory_) / "s").string()));
  EXPECT_TRUE(allows(compile(profile(enforce, "/run/${UID}/s")).rules, "/run/" + std::to_string(getuid()) + "/s"));
  EXPECT_TRUE(
      allows(compile(profile(enforce, "${XDG_RUNTIME_DIR}/s"), {"XDG_RUNTIME_DIR=/run/mine"}).rules, "/run/mine/s"));
  EXPECT_TRUE(
      allows(compile(profile(enforce, "${XDG_RUNTIME_DIR}/s")).rules, "/run/user/" + std::to_string(getuid()) + "/s"));
  // From the user database.
  const passwd* entry = getpwuid(getuid());
  ASSERT_NE(entry, nullptr);
  const std::string name = entry->pw_name;
  const std::string home = entry->pw_dir;
  EXPECT_TRUE(allows(compile(profile(enforce, "/run/${USER}/s")).rules, "/run/" + name + "/s"));
  EXPECT_TRUE(allows(compile(profile(enforce, "/run/${USER}/s"), {"USER=other"}).rules, "/run/" + name + "/s"));
  EXPECT_TRUE(allows(compile(profile(enforce, "${HOME}/s")).rules, home + "/s"));
  // Values are names, not patterns.
  EXPECT_FALSE(allows(compile(profile(enforce, "${HOME}/s"), {"HOME=/home/*"}).rules, "/home/somebody/s"));
}

TEST_F(WrapCompileTest, AnErrorIsOneLineWithItsPlace) {
  const Output o = compile("version: 1\nname: mine\nsandbox: {sekkomp: {}}\n");
  EXPECT_EQ(o.exit_status, 1);
  EXPECT_TRUE(o.error.find("profile.yaml:3:") != std::string::npos) << o.error;
  EXPECT_EQ(std::ranges::count(o.error, '\n'), 1) << o.error;
  EXPECT_EQ(o.json + o.rules + o.filter, "");
}

TEST_F(WrapCompileTest, RefusesWhatIsTooLarge) {
  const Output text = compile(profile("{mode: enforce}", "/tmp/x") + std::string(9U << 20, '#'));
  EXPECT_EQ(text.exit_status, 1);
  EXPECT_EQ(std::ranges::count(text.error, '\n'), 1) << text.error;
  // Within the limit for text, above that for a profile's rules.
  std::string many = "version: 1\nname: mine\nunix_socket_rules:\n";
  for (int i = 0; i < 30000; ++i) {
    many += "  - {name: r" + std::to_string(i) + ", paths: [\"/run/" + std::to_string(i * 7919) +
            "/with/a/name/of/its/own.sock\"], decision: deny}\n";
  }
  const Output rules = compile(many);
  EXPECT_EQ(rules.exit_status, 1);
  EXPECT_EQ(std::ranges::count(rules.error, '\n'), 1) << rules.error;
  EXPECT_EQ(text.rules + rules.rules, "");
}

TEST_F(WrapCompileTest, RefusesAWrongCommandLine) {
  const std::string file = write(profile("{mode: enforce}", "/tmp/x"));
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {file},
      {"--rules-fd", "RULES", file},
      {"--rules-fd", "1", "--filter-fd", "FILTER", file},
      {"--rules-fd", "RULES", "--filter-fd", "4x", file},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER"},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER", file, file},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER", "--mode", "enforce", file},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER", "--other", file},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER", "/nonexistent/profile.yaml"},
      {"--rules-fd", "RULES", "--filter-fd", "FILTER", "/dev/zero"},
      {"--rules-fd", "RULES", "--filter-fd", "999", file},
  };
  for (const auto& words : wrong) {
    const Output o = run(words);
    EXPECT_EQ(o.exit_status, 1) << testing::PrintToString(words);
    EXPECT_EQ(std::ranges::count(o.error, '\n'), 1) << o.error;
    EXPECT_EQ(o.json, "");
  }
}

[[noreturn]] void compile_with_passwd(const std::filesystem::path& passwd, const std::filesystem::path& profile) {
  alarm(60);
  if (unshare(CLONE_NEWNS) < 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      mount(passwd.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) < 0) {
    std::_Exit(99);
  }
  const int out = memfd_create("scratch", 0);
  const std::string number = std::to_string(out);
  const char* environment[] = {nullptr};
  execle(WRAP_COMPILE, WRAP_COMPILE, "--rules-fd", number.c_str(), "--filter-fd", number.c_str(), "--", profile.c_str(),
         nullptr, environment);
  std::_Exit(98);
}

TEST_F(WrapCompileTest, AnEntryWithoutEndIsNone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  const std::string passwd = directory_ / "passwd";
  std::ofstream(passwd) << "root:x:0:0:" << std::string(1 << 20, 'x') << ":/root:/bin/sh\n";
  const std::string file = write(profile("{mode: enforce}", "/tmp/${USER}"));
  EXPECT_EXIT(compile_with_passwd(passwd, file), testing::ExitedWithCode(1), "USER");
}

}  // namespace
}  // namespace wrapd
