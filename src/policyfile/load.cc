// SPDX-License-Identifier: Apache-2.0
#include "policyfile/load.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/unique_fd.h"
#include "policy/read_policy.h"
#include "policyfile/yaml.h"

namespace wrapd::policyfile {
namespace {

Result<> check_trusted(const struct stat& st, const std::string& what) {
  if (st.st_uid != 0) {
    return fail(what + ": belongs to user " + std::to_string(st.st_uid) + ", not to root; run 'chown root' on it",
                EPERM);
  }
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(what + ": others than root can write it; run 'chmod go-w' on it", EPERM);
  }
  return {};
}

Result<std::string> read_trusted(const std::string& path) {
  std::string shown = printable(path);
  size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  UniqueFd parent(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return fail_errno("cannot open " + printable(directory));
  struct stat st {};
  if (::fstat(parent.get(), &st) < 0) return fail_errno("cannot stat " + printable(directory));
  if (auto ok = check_trusted(st, shown + ": its directory"); !ok) return std::unexpected(ok.error());
  // O_NONBLOCK: a FIFO in the place of the file must not hang the service.
  UniqueFd fd(::openat(parent.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd && errno == ELOOP) return fail(shown + ": a symbolic link; put the file itself there", ELOOP);
  if (!fd) return fail_errno("cannot open " + shown);
  if (::fstat(fd.get(), &st) < 0) return fail_errno("cannot stat " + shown);
  if (!S_ISREG(st.st_mode)) return fail(shown + ": not a regular file");
  if (auto ok = check_trusted(st, shown); !ok) return std::unexpected(ok.error());
  auto text = read_all(fd.get(), kMaxPolicyText);
  if (!text) return fail(shown + ": " + text.error().message, text.error().code);
  return text;
}

}  // namespace

Result<policy::Policy> load_policy(std::string_view text, const std::string& file) {
  auto root = parse_yaml(text, file);
  if (!root) return std::unexpected(root.error());
  return policy::read_policy(*root, file);
}

Result<std::string> read_policy_file(const std::string& path, bool trusted_only) {
  return trusted_only ? read_trusted(path) : read_file(path, kMaxPolicyText);
}

Result<policy::Policy> load_policy_file(const std::string& path, bool trusted_only) {
  auto text = read_policy_file(path, trusted_only);
  if (!text) return std::unexpected(text.error());
  return load_policy(*text, printable(path));
}

}  // namespace wrapd::policyfile
