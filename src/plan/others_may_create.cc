// SPDX-License-Identifier: Apache-2.0

// Walks like the kernel does (path_resolution(7)), one component at a time: a link's own place matters as much as where
// it leads, because who can replace the link decides what the name means.

#include "plan/others_may_create.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace wrapd::plan {
namespace {

constexpr int kMaxSymlinks = 40;  // MAXSYMLINKS, linux/namei.h
constexpr size_t kMaxComponents = 1024;

// Puts the components of `path` before those that are left to walk.
bool push_front(std::deque<std::string>& components, std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  components.insert(components.begin(), parts.begin(), parts.end());
  return components.size() <= kMaxComponents;
}

// The sticky bit keeps others from moving what is there, not from making what is not.
bool root_only(int directory) {
  struct stat st {};
  return ::fstat(directory, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && (st.st_mode & 022) == 0;
}

}  // namespace

bool others_may_create(int root, std::string_view directory) {
  constexpr int kFlags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  std::deque<std::string> rest;
  if (directory.empty() || directory[0] != '/' || directory.find('\0') != std::string_view::npos ||
      !push_front(rest, directory)) {
    return true;
  }
  // The way from the root to where we are: ".." never leaves it.
  std::vector<UniqueFd> way;
  way.emplace_back(::openat(root, ".", kFlags | O_DIRECTORY));
  int symlinks = 0;
  for (;;) {
    if (!way.back() || !root_only(way.back().get())) return true;
    if (rest.empty()) return false;
    std::string name = std::move(rest.front());
    rest.pop_front();
    if (name == "..") {
      if (way.size() > 1) way.pop_back();
      continue;
    }
    UniqueFd next(::openat(way.back().get(), name.c_str(), kFlags));
    // What is not there yet may be made by anybody whom root makes it for, /run/user/UID at a login for one.
    if (!next) return true;
    struct stat st {};
    if (::fstat(next.get(), &st) < 0) return true;
    if (!S_ISLNK(st.st_mode)) {
      way.push_back(std::move(next));
      continue;
    }
    // Its permission bits mean nothing; its directory, looked at before, decides who replaces it.
    if (st.st_uid != 0) return true;
    std::array<char, PATH_MAX> target;
    ssize_t length = ::readlinkat(next.get(), "", target.data(), target.size());
    if (length <= 0 || static_cast<size_t>(length) == target.size() || ++symlinks > kMaxSymlinks) return true;
    std::string_view text(target.data(), static_cast<size_t>(length));
    if (text[0] == '/') way.resize(1);
    if (!push_front(rest, text)) return true;
  }
}

}  // namespace wrapd::plan
