// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/exec_plan.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/lib/temporary_directory.h"

namespace wrapd::client {
namespace {

namespace stdfs = std::filesystem;

// What became of an attempt to execute: exit status of the program, or the errno.
struct Attempt {
  int error = 0;
  int status = -1;
  bool operator==(const Attempt&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Attempt& a) {
  return out << "errno " << a.error << " status " << a.status;
}

Attempt attempt(const std::function<int()>& execute) {
  int fds[2];
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    int error = execute();
    if (::write(fds[1], &error, sizeof error) != sizeof error) ::_exit(99);
    ::_exit(98);
  }
  ::close(fds[1]);
  Attempt result;
  int error = 0;
  if (::read(fds[0], &error, sizeof error) == sizeof error) result.error = error;
  ::close(fds[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  if (result.error == 0) result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -status;
  return result;
}

class ExecPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* directory : {"a", "b", "c"}) stdfs::create_directory(root_ / directory);
    make("a/plain", "#!/bin/sh\nexit 11\n", 0755);
    make("b/plain", "#!/bin/sh\nexit 12\n", 0755);
    make("a/closed", "#!/bin/sh\nexit 13\n", 0644);
    make("b/closed", "#!/bin/sh\nexit 14\n", 0755);
    make("a/only-closed", "#!/bin/sh\n", 0644);
    make("b/no-header", "exit $(( $# + 20 ))\n", 0755);
    make("b/bad-interpreter", "#!/no/such/interpreter\n", 0755);
    make("c/bad-interpreter", "#!/bin/sh\nexit 15\n", 0755);
    stdfs::create_directory(root_ / "a" / "folder");
    make("b/folder", "#!/bin/sh\nexit 16\n", 0755);
    make("loop-target", "", 0755);
    stdfs::create_symlink("loop", root_ / "a" / "loop");
    old_cwd_ = stdfs::current_path();
    stdfs::current_path(root_ / "c");
  }
  void TearDown() override { stdfs::current_path(old_cwd_); }
  void make(const std::string& name, const std::string& text, mode_t mode) {
    std::ofstream(root_ / name) << text;
    ASSERT_EQ(::chmod((root_ / name).c_str(), mode), 0);
  }
  // Runs the same command by execvp(3) and by our plan.
  void expect_same(std::vector<std::string> words, const std::optional<std::string>& path) {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    if (path) {
      ::setenv("PATH", path->c_str(), 1);
    } else {
      ::unsetenv("PATH");
    }
    ExecPlan plan(argv, ::getenv("PATH"), environ);
    argv.push_back(nullptr);
    Attempt theirs = attempt([&] {
      ::execvp(argv[0], argv.data());
      return errno;
    });
    Attempt ours = attempt([&] { return plan.execute().error; });
    EXPECT_EQ(ours, theirs) << words[0] << " in " << path.value_or("(unset)");
  }
  test::TemporaryDirectory temporary_;
  stdfs::path root_ = temporary_.path();
  stdfs::path old_cwd_;
};

TEST_F(ExecPlanTest, DoesWhatExecvpDoes) {
  const std::string old_path = ::getenv("PATH") != nullptr ? ::getenv("PATH") : "";
  const std::string r = root_.string();
  const std::vector<std::optional<std::string>> paths = {r + "/a:" + r + "/b",
                                                         r + "/b:" + r + "/a",
                                                         r + "/a",
                                                         r + "/b:" + r + "/c",
                                                         ":" + r + "/a",
                                                         r + "/a:",
                                                         "",
                                                         "/nonexistent:" + r + "/b",
                                                         r + "/loop-target:" + r + "/b",

                                                         std::nullopt,
                                                         "../b"};
  const std::vector<std::vector<std::string>> commands = {{"plain"},
                                                          {"closed"},
                                                          {"only-closed"},
                                                          {"no-header", "x", "y"},
                                                          {"bad-interpreter"},
                                                          {"folder"},
                                                          {"loop"},
                                                          {"missing"},
                                                          {"true"},
                                                          {""},
                                                          {r + "/a/plain"},
                                                          {r + "/a/closed"},
                                                          {r + "/b/no-header", "x"},
                                                          {r + "/a/folder"},
                                                          {"../a/plain"},
                                                          {"/"},
                                                          {std::string(300, 'n')}};
  for (const auto& path : paths) {
    for (const auto& command : commands) expect_same(command, path);
  }
  ::setenv("PATH", old_path.c_str(), 1);
}

// glibc 2.36 looks into the working directory instead of an element that is too long; nobody asked for that.
TEST_F(ExecPlanTest, SkipsElementsThatAreTooLong) {
  char name[] = "x";
  ExecPlan plan({name}, (std::string(5000, 'x') + ":/b").c_str(), environ);
  EXPECT_THAT(plan.candidates(), ::testing::ElementsAre("/b/x"));
}

TEST_F(ExecPlanTest, SaysWhatToDo) {
  char missing[] = "missing";
  ExecPlan searched({missing}, "/bin", environ);
  EXPECT_EQ(describe_exec_failure(searched, ENOENT).status, 127);
  EXPECT_THAT(describe_exec_failure(searched, ENOENT).message, ::testing::HasSubstr("missing: command not found"));
  EXPECT_EQ(describe_exec_failure(searched, EACCES).status, 126);
  EXPECT_EQ(describe_exec_failure(searched, E2BIG).status, 126);
  char ugly[] = "./a\nwrap: forged";
  ExecPlan escaped({ugly}, "/bin", environ);
  EXPECT_EQ(describe_exec_failure(escaped, ENOENT).message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace wrapd::client
