// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "base/io.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrapctl/bus.h"
#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/text.h"
#include "config.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr size_t kMaxAnswer = 4096;

// The first line that `program --version` prints.
Result<std::string> version_of(const char* program) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("cannot make a pipe");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("cannot create a process");
  if (pid == 0) {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(theirs.get(), STDOUT_FILENO) < 0 ||
        ::dup2(null.get(), STDERR_FILENO) < 0) {
      ::_exit(127);
    }
    ::execlp(program, program, "--version", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  theirs.reset();
  auto text = read_all(ours.get(), kMaxAnswer);
  ours.reset();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!text) return std::unexpected(text.error());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail("cannot be executed");
  return text->substr(0, text->find('\n'));
}

}  // namespace

Finding probe_versions() {
  utsname system{};
  if (::uname(&system) < 0) return failed(with_errno("cannot tell the kernel's version", errno), "");
  std::string detail = "wrapctl " WRAPD_VERSION ", Linux " + safe_text(system.release);
  if (auto bus = Bus::open_system()) {
    auto version = bus->string_property(
        {"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"}, "Version");
    if (version) detail += ", systemd " + safe_text(*version);
  }
  std::string problems;
  for (const char* program : {"wrap", WRAPD_LIBEXECDIR "/wrapd"}) {
    auto version = version_of(program);
    if (!version) {
      problems += std::string(problems.empty() ? "" : "; ") + program + ": " + safe_text(version.error().message);
      continue;
    }
    detail += ", " + safe_text(*version);
    if (!version->ends_with(" " WRAPD_VERSION)) {
      problems += std::string(problems.empty() ? "" : "; ") + program + " is another version: " + safe_text(*version);
    }
  }
  if (problems.empty()) return ok(detail);
  return failed(problems + " (" + detail + ")", "install all of the package's programs in one version");
}

}  // namespace wrapd::wrapctl::doctor
