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
#include <optional>
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

// What the kernel knows of it by itself: a file system that is served by a program is not asked (AT_STATX_DONT_SYNC).
std::optional<struct statx> look_at(int fd, bool ask) {
  constexpr unsigned kWanted = STATX_TYPE | STATX_MODE | STATX_UID | STATX_MNT_ID;
  const int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | (ask ? 0 : AT_STATX_DONT_SYNC);
  struct statx st {};
  if (::statx(fd, "", flags, kWanted, &st) < 0 || (st.stx_mask & kWanted) != kWanted) return std::nullopt;
  return st;
}

// The sticky bit keeps others from moving what is there, not from making what is not.
bool root_only(int directory, const LocalMounts* mounts) {
  auto st = look_at(directory, mounts == nullptr);
  return st && S_ISDIR(st->stx_mode) && st->stx_uid == 0 && (st->stx_mode & 022) == 0 &&
         (mounts == nullptr || mounts->contains(st->stx_mnt_id));
}

}  // namespace

bool others_may_create(int root, std::string_view directory, const LocalMounts* mounts) {
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
    if (!way.back() || !root_only(way.back().get(), mounts)) return true;
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
    auto st = look_at(next.get(), mounts == nullptr);
    if (!st) return true;
    if (!S_ISLNK(st->stx_mode)) {
      way.push_back(std::move(next));
      continue;
    }
    // Its permission bits mean nothing; its directory, looked at before, decides who replaces it.
    if (st->stx_uid != 0) return true;
    std::array<char, PATH_MAX> target;
    ssize_t length = ::readlinkat(next.get(), "", target.data(), target.size());
    if (length <= 0 || static_cast<size_t>(length) == target.size() || ++symlinks > kMaxSymlinks) return true;
    std::string_view text(target.data(), static_cast<size_t>(length));
    if (text[0] == '/') way.resize(1);
    if (!push_front(rest, text)) return true;
  }
}

}  // namespace wrapd::plan
