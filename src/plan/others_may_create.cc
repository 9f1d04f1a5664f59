// SPDX-License-Identifier: Apache-2.0

// Walks like the kernel does (path_resolution(7)), one component at a time: a link's own place matters as much as where
// it leads, because who can replace the link decides what the name means. realpath(3) would not show the places
// between.

#include "plan/others_may_create.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <string>

namespace wrapd::plan {
namespace {

constexpr int kMaxLinks = 40;            // MAXSYMLINKS, linux/namei.h
constexpr size_t kMaxComponents = 4096;  // of a name and of what its links add

bool push_front_components(std::deque<std::string>& pending, std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (!part.empty() && part != ".") parts.emplace_back(part);
  }
  pending.insert(pending.begin(), parts.begin(), parts.end());
  return pending.size() <= kMaxComponents;
}

// A link's permission bits mean nothing: its directory, looked at before, decides who replaces it.
bool root_only(const struct stat& status) {
  return status.st_uid == 0 && (S_ISLNK(status.st_mode) || (status.st_mode & (S_IWGRP | S_IWOTH)) == 0);
}

}  // namespace

bool others_may_create(std::string_view directory) {
  if (directory.empty() || directory.front() != '/' || directory.find('\0') != std::string_view::npos) return true;
  std::deque<std::string> pending;
  if (!push_front_components(pending, directory)) return true;
  std::string walked;  // real, without a slash at its end: "" is the root
  struct stat status {};
  if (lstat("/", &status) != 0 || !root_only(status)) return true;

  int links = 0;
  while (!pending.empty()) {
    std::string component = std::move(pending.front());
    pending.pop_front();
    if (component == "..") {
      walked.resize(walked.empty() ? 0 : walked.rfind('/'));
      continue;
    }
    std::string next = walked + "/" + component;
    // What is not there yet may be made by anybody whom root makes it for, /run/user/UID at a login for one.
    if (lstat(next.c_str(), &status) != 0) return true;
    if (!root_only(status)) return true;
    if (!S_ISLNK(status.st_mode)) {
      walked = std::move(next);
      continue;
    }
    std::array<char, PATH_MAX> target;
    ssize_t length = readlink(next.c_str(), target.data(), target.size());
    if (length <= 0 || static_cast<size_t>(length) == target.size() || ++links > kMaxLinks) return true;
    if (target[0] == '/') walked.clear();
    if (!push_front_components(pending, {target.data(), static_cast<size_t>(length)})) return true;
  }
  return false;
}

}  // namespace wrapd::plan
