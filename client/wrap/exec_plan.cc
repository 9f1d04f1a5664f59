// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/exec_plan.h"

#include <limits.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/io.h"
#include "base/result.h"
#include "client/wrap/options.h"

namespace wrapd::client {
namespace {

constexpr std::string_view kDefaultPath = "/bin:/usr/bin";  // confstr(_CS_PATH): what execvp(3) takes without PATH

// What execvp(3) takes as "not here, look on".
bool look_on(int error) {
  return error == ENOENT || error == ENOTDIR || error == ESTALE || error == ENODEV || error == ETIMEDOUT;
}

}  // namespace

ExecPlan::ExecPlan(std::vector<char*> argv, const char* path, char** environment)
    : argv_(std::move(argv)), environment_(environment) {
  static char shell[] = "/bin/sh";
  sh_argv_ = {shell, nullptr};
  sh_argv_.insert(sh_argv_.end(), argv_.begin() + 1, argv_.end());
  sh_argv_.push_back(nullptr);
  argv_.push_back(nullptr);

  std::string_view name = argv_.front();
  if (name.empty() || name.find('/') != std::string_view::npos) {
    candidates_.emplace_back(name);
    return;
  }
  std::string_view rest = path != nullptr ? std::string_view(path) : kDefaultPath;
  for (;;) {
    size_t colon = rest.find(':');
    std::string_view directory = rest.substr(0, colon);
    if (directory.size() + 1 + name.size() < PATH_MAX) {
      candidates_.push_back(directory.empty() ? std::string(name) : std::string(directory).append("/").append(name));
    }
    if (colon == std::string_view::npos) return;
    rest.remove_prefix(colon + 1);
  }
}

ExecPlan::Failure ExecPlan::execute() const noexcept {
  int last = ENOENT;
  bool denied = false;
  for (const std::string& candidate : candidates_) {
    ::execve(candidate.c_str(), argv_.data(), environment_);
    if (errno == ENOEXEC) {
      sh_argv_[1] = const_cast<char*>(candidate.c_str());
      ::execve(sh_argv_[0], sh_argv_.data(), environment_);
    }
    last = errno;
    if (last == EACCES) {
      denied = true;
    } else if (!look_on(last)) {
      return {last};
    }
  }
  return {denied ? EACCES : last};
}

ExecFailure describe_exec_failure(const ExecPlan& plan, int error) {
  std::string name = printable(plan.name(), 256);
  if (name.empty()) name = "''";
  if (error == ENOENT) {
    bool searched = std::strchr(plan.name(), '/') == nullptr;
    return {name + (searched ? ": command not found; check the name and PATH"
                             : ": no such program, or its interpreter is missing; check the path"),
            kExitNotFound};
  }
  return {fail_errno("cannot execute " + name, error).error().message + "; check its permissions and its format",
          kExitCannotExecute};
}

}  // namespace wrapd::client
