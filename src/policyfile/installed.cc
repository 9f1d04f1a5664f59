// SPDX-License-Identifier: Apache-2.0
#include "policyfile/installed.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/io.h"

namespace wrapd::policyfile {
namespace {

constexpr size_t kMaxPolicyFiles = 4096;

Result<> add_files(const std::string& directory, std::map<std::string, std::string>& files) {
  namespace fs = std::filesystem;
  auto absent = is_absent(directory);
  if (!absent) return std::unexpected(absent.error());
  if (*absent) return {};
  std::error_code error;
  fs::directory_iterator list(directory, error);
  for (; !error && list != fs::directory_iterator(); list.increment(error)) {
    std::string name = list->path().filename().string();
    if (name.starts_with('.') || !name.ends_with(".yaml")) continue;
    if (files.size() == kMaxPolicyFiles) return fail(printable(directory) + ": too many policy files");
    files.emplace(std::move(name), list->path().string());
  }
  if (error) return fail_errno("cannot list " + printable(directory), error.value());
  return {};
}

}  // namespace

Result<bool> is_absent(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0) return false;
  if (errno != ENOENT) return fail_errno("cannot look at " + printable(path));
  const std::string parent = std::filesystem::path(path).parent_path().string();
  if (parent.empty() || parent == path) return true;
  if (::stat(parent.c_str(), &st) == 0) return true;
  if (errno != ENOENT) return fail_errno("cannot look at " + printable(parent));
  auto absent = is_absent(parent);
  if (absent && !*absent) return fail(printable(parent) + ": a link that leads nowhere; mend or remove it", ENOENT);
  return absent;
}

Result<std::map<std::string, std::string>> policy_files(std::span<const std::string> directories) {
  std::map<std::string, std::string> files;
  for (const auto& directory : directories) {
    if (auto added = add_files(directory, files); !added) return std::unexpected(added.error());
  }
  return files;
}

Result<> check_granted(const ServiceConfig& config, const std::string& file, std::span<const std::string> installed) {
  for (const auto& rule : config.access) {
    for (size_t i = 0; i < rule.places.size(); ++i) {
      if (std::ranges::find(installed, rule.policies[i]) != installed.end()) continue;
      const std::string place = std::to_string(rule.places[i].line) + ":" + std::to_string(rule.places[i].column);
      return fail(printable(file) + ":" + place + ": there is no policy '" + printable(rule.policies[i], 64) +
                  "'; install it, or do not grant it");
    }
  }
  return {};
}

}  // namespace wrapd::policyfile
