// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/profile.h"

#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "base/io.h"
#include "config.h"
#include "wire/limits.h"

namespace wrapd::client {
namespace {

constexpr int kCompileTimeout = 10000;  // milliseconds

std::string compiler_path(const Options& options) {
  if (options.compile) return *options.compile;
  // In a build tree it lies beside us.
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  if (n > 0 && static_cast<size_t>(n) < sizeof self) {
    std::string path(self, static_cast<size_t>(n));
    path = path.substr(0, path.rfind('/')) + "/../compile/wrap-compile";
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return WRAPD_LIBEXECDIR "/wrap-compile";
}

Result<UniqueFd> scratch_memfd(const char* name) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("cannot create a memfd");
  return fd;
}

// Waits for `pid`; kills it when the time is over. Its wait status.
Result<int> await_compiler(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd polled{pidfd.get(), POLLIN, 0};
  int n = -1;
  if (pidfd) {
    do {
      n = ::poll(&polled, 1, kCompileTimeout);
    } while (n < 0 && errno == EINTR);
  }
  if (n <= 0) ::kill(pid, SIGKILL);  // not reaped yet, so the number is still its own
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("cannot wait for the profile's compiler");
  }
  if (n <= 0) return fail("compiling the profile took too long; make it smaller");
  return status;
}

Result<std::string> content(int fd) {
  if (::lseek(fd, 0, SEEK_SET) < 0) return fail_errno("cannot rewind a memfd");
  return read_all(fd, wire::kMaxProfileDescription);
}

std::string first_line(const std::string& text) {
  return printable(std::string_view(text).substr(0, text.find('\n')));
}

}  // namespace

std::string default_profile() {
  if (const char* source = std::getenv("WRAPD_SOURCE_ROOT"))
    return std::string(source) + "/units/policies/default.yaml";
  return WRAPD_VENDOR_POLICY_DIR "/default.yaml";
}

Result<CompiledProfile> compile_profile(const Options& options, const std::string& file) {
  CompiledProfile profile;
  UniqueFd output;
  UniqueFd errors;
  for (auto [fd, name] : {std::pair{&profile.rules, "wrap-profile"},
                          {&profile.filter, "wrap-filter"},
                          {&output, "wrap-out"},
                          {&errors, "wrap-errors"}}) {
    auto made = scratch_memfd(name);
    if (!made) return std::unexpected(made.error());
    *fd = std::move(*made);
  }

  std::string program = compiler_path(options);
  std::vector<std::string> words{program, "--rules-fd", std::to_string(profile.rules.get()), "--filter-fd",
                                 std::to_string(profile.filter.get())};
  if (options.audit) words.insert(words.end(), {"--mode", "audit"});
  words.insert(words.end(), {"--", file});
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, output.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, errors.get(), STDERR_FILENO);
  // dup2 onto itself clears close-on-exec (posix_spawn_file_actions_adddup2(3)).
  ::posix_spawn_file_actions_adddup2(&actions, profile.rules.get(), profile.rules.get());
  ::posix_spawn_file_actions_adddup2(&actions, profile.filter.get(), profile.filter.get());
  pid_t pid = -1;
  int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail_errno("cannot run " + printable(program) + " to compile the profile", error);

  auto status = await_compiler(pid);
  if (!status) return std::unexpected(status.error());
  auto complaint = content(errors.get());
  if (!WIFEXITED(*status) || WEXITSTATUS(*status) != 0) {
    if (complaint && !complaint->empty()) return fail(first_line(*complaint));
    return fail("cannot compile the profile " + printable(file, 256) + ": " + printable(program) +
                " ended without a reason");
  }
  auto description = content(output.get());
  if (!description) return fail("the profile's compiler: " + description.error().message);
  auto parsed = wire::decode_profile_description(*description);
  if (!parsed) return fail("the profile's compiler gave an answer that wrap does not know; install both anew");
  static_cast<wire::ProfileDescription&>(profile) = std::move(*parsed);
  for (int fd : {profile.rules.get(), profile.filter.get()}) {
    if (auto sealed = seal_memfd(fd); !sealed) return std::unexpected(sealed.error());
  }
  return profile;
}

}  // namespace wrapd::client
