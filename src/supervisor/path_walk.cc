// SPDX-License-Identifier: Apache-2.0
#include "supervisor/path_walk.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdio>
#include <string_view>
#include <utility>

#include "kernel/uapi.h"

namespace wrapd::supervisor {
namespace {

constexpr int kMaxLinks = 40;        // as the kernel: MAXSYMLINKS
constexpr int kMaxElements = 4096;   // of all expansions together
constexpr ino_t kProcRootInode = 1;  // PROC_ROOT_INO

bool is_absolute(std::string_view path) {
  return path.starts_with('/');
}

// "fd/12" from the element "12" beneath a directory "fd"; -1 if the element is no descriptor number.
int descriptor_number(std::string_view element) {
  int value = -1;
  auto [end, error] = std::from_chars(element.data(), element.data() + element.size(), value);
  return error == std::errc{} && end == element.data() + element.size() ? value : -1;
}

// Takes the first element off a path, with the slashes before it; empty if there is none.
std::string take_element(std::string& path) {
  const size_t begin = std::min(path.find_first_not_of('/'), path.size());
  const size_t end = std::min(path.find('/', begin), path.size());
  std::string element = path.substr(begin, end - begin);
  path.erase(0, end);
  return element;
}

}  // namespace

PathWalk::PathWalk(kernel::Objects& kernel, int root) : kernel_(kernel), root_(root) {}

ForTarget<Located> PathWalk::locate(const Caller& call, int directory, const std::string& path, LastElement last) {
  if (path.empty()) return target_errno(ENOENT);
  uint64_t flags = O_PATH | (last == LastElement::keep ? O_NOFOLLOW : 0);
  int fd = is_absolute(path) ? kernel_.open_at(root_, path.c_str(), flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
                             : kernel_.open_at(directory, path.c_str(), flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  // ELOOP: a magic link (or a real loop); EXDEV: a link or ".." out of the start directory; EAGAIN: a rename raced with
  // "..". ENOENT and ENOTDIR may be what /proc/self says of us. Everything else is what the target would see.
  bool look_closer = fd == -ELOOP || fd == -EXDEV || fd == -EAGAIN || fd == -ENOENT || fd == -ENOTDIR;
  if (look_closer) return walk(call, directory, path, last);
  if (fd < 0) return target_errno(-fd);
  Located located{.fd = UniqueFd(fd)};
  if (int rc = kernel_.stat(fd, located.st); rc < 0) return target_errno(-rc);
  // "self" is no magic link: it may have led to us.
  if (kernel_.is_proc(located.st.st_dev)) return walk(call, directory, path, last);
  return located;
}

bool PathWalk::same_directory(int a, int b) {
  struct stat sa {
  }, sb{};
  if (kernel_.stat(a, sa) < 0 || kernel_.stat(b, sb) < 0) return false;
  return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino && kernel_.mount_id(a) == kernel_.mount_id(b);
}

ForTarget<Located> PathWalk::walk(const Caller& call, int directory, std::string path, LastElement last) {
  Located way;
  int links = 0;
  UniqueFd current(kernel_.open_at(is_absolute(path) ? root_ : directory, ".", O_PATH | O_DIRECTORY, 0));
  if (!current) return target_errno(-current.get());
  bool want_directory = path.ends_with('/');

  for (int elements = 0; elements < kMaxElements; ++elements) {
    const std::string element = take_element(path);
    if (element.empty()) {  // nothing left: the path is a directory
      way.fd = std::move(current);
      if (int rc = kernel_.stat(way.fd.get(), way.st); rc < 0) return target_errno(-rc);
      return way;
    }
    const bool is_last = path.find_first_not_of('/') == std::string::npos;
    if (element == "." || (element == ".." && same_directory(current.get(), root_))) continue;
    const bool climbs = element == "..";
    UniqueFd child(kernel_.open_at(current.get(), element.c_str(), O_PATH | (climbs ? O_DIRECTORY : O_NOFOLLOW),
                                   climbs ? RESOLVE_NO_SYMLINKS : RESOLVE_NO_MAGICLINKS));
    if (!child) return target_errno(-child.get());
    if (climbs) {
      current = std::move(child);
      continue;
    }
    struct stat st {};
    if (int rc = kernel_.stat(child.get(), st); rc < 0) return target_errno(-rc);
    if (S_ISLNK(st.st_mode) && (!is_last || last == LastElement::follow || want_directory)) {
      if (++links > kMaxLinks) return target_errno(ELOOP);
      if (!kernel_.is_any_proc(current.get())) {
        auto text = read_link(call, current.get(), child.get(), st);
        if (!text) return std::unexpected(text.error());
        if (is_last && text->ends_with('/')) want_directory = true;
        if (text->size() + path.size() > size_t{2} * PATH_MAX) return target_errno(ENAMETOOLONG);
        if (is_absolute(*text)) current.reset(kernel_.open_at(root_, ".", O_PATH | O_DIRECTORY, 0));
        if (!current) return refusal("lookup failed");
        path = *text + "/" + path;
        // The added slash is ours: only a slash that was written asks for a directory.
        while (!want_directory && path.ends_with('/')) path.pop_back();
        continue;
      }
      auto led_to = follow_proc_link(call, current.get(), element, way);
      if (!led_to) return std::unexpected(led_to.error());
      child = std::move(*led_to);
      if (int rc = kernel_.stat(child.get(), st); rc < 0) return target_errno(-rc);
    }
    if ((!is_last || want_directory) && !S_ISDIR(st.st_mode)) return target_errno(ENOTDIR);
    if (is_last) {
      way.fd = std::move(child);
      way.st = st;
      return way;
    }
    current = std::move(child);
  }
  return target_errno(ENAMETOOLONG);
}

// The text of a symbolic link that the walk follows.
ForTarget<std::string> PathWalk::read_link(const Caller& call, int parent, int link, const struct stat& st) {
  // The kernel's rule for links in sticky directories that everybody may write (fs.protected_symlinks), always.
  struct stat above {};
  if (int rc = kernel_.stat(parent, above); rc < 0) return target_errno(-rc);
  if ((above.st_mode & (S_ISVTX | S_IWOTH)) == (S_ISVTX | S_IWOTH) && st.st_uid != call.credentials().fs_uid &&
      st.st_uid != above.st_uid) {
    return refusal("foreign symbolic link in a sticky directory");
  }
  auto text = kernel_.read_link(link);
  if (!text) return target_errno(text.error().code);
  if (text->empty()) return target_errno(ENOENT);
  return std::move(*text);
}

// Follows a symbolic link in procfs for the target. "self" and "thread-self" are ordinary links whose text depends on
// who reads them; the others lead into a task without any check of the path on the way, so that only the target's own
// are followed. The directory is compared by identity with the one that we look up ourselves: a bind mount or another
// procfs instance elsewhere is not taken for it.
ForTarget<UniqueFd> PathWalk::follow_proc_link(const Caller& call, int directory, const std::string& name,
                                               Located& way) {
  struct stat st {};
  if (int rc = kernel_.stat(directory, st); rc < 0) return target_errno(-rc);
  if (!kernel_.is_proc(st.st_dev)) return refusal("a link of a /proc that is not the session's own");
  kernel::TaskStatus status;
  if (int rc = call.status(status); rc < 0) return refusal("the program is gone");

  std::array<char, 64> own;
  if (st.st_ino == kProcRootInode && (name == "self" || name == "thread-self")) {
    if (name == "self") {
      std::snprintf(own.data(), own.size(), "%d", status.tgid);
    } else {
      std::snprintf(own.data(), own.size(), "%d/task/%d", status.tgid, call.tid);
    }
    int fd = kernel_.open_proc_directory(st.st_dev, own.data());
    if (fd < 0) return target_errno(-fd);
    return UniqueFd(fd);
  }

  int descriptor = descriptor_number(name);
  if (name != "root" && name != "cwd" && descriptor < 0) return refusal("magic link of procfs");
  const std::string process = std::to_string(status.tgid);
  const std::string thread = process + "/task/" + std::to_string(call.tid);
  for (bool of_thread : {false, true}) {
    const std::string& base = of_thread ? thread : process;
    std::string expected = descriptor >= 0 ? base + "/fd" : base;
    UniqueFd candidate(kernel_.open_proc_directory(st.st_dev, expected.c_str()));
    // Inode numbers of procfs directories are unique in their instance while they are held open, which both are; they
    // may be seen through different mounts of it.
    struct stat other {};
    if (!candidate || kernel_.stat(candidate.get(), other) < 0 || other.st_ino != st.st_ino) continue;
    std::string link = descriptor >= 0 ? "fd/" + name : name;
    int fd = call.open_process_link(of_thread ? call.tid : status.tgid, link.c_str());
    if (fd < 0) return target_errno(-fd);
    UniqueFd led_to(fd);
    if (name == "cwd") way.by_working_directory = true;
    if (descriptor >= 0) {
      if (int again = kernel_.open_at(fd, ".", O_PATH | O_DIRECTORY, 0); again >= 0)
        way.descriptors.push_back({descriptor, UniqueFd(again)});
    }
    return led_to;
  }
  return refusal("another task's magic link");
}

}  // namespace wrapd::supervisor
