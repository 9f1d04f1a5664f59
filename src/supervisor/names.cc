// SPDX-License-Identifier: Apache-2.0
#include "supervisor/names.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include <climits>
#include <cstring>
#include <memory>

namespace wrapd::supervisor {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxEntries = 20000;  // of a directory that is renamed and might carry sockets

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

bool is_open(policy::Verdict verdict) {
  return verdict == policy::Verdict::allow || verdict == policy::Verdict::audit;
}

// What is denied must not come to where it would be asked about, and neither to where nobody is asked.
bool is_wider(policy::Verdict after, policy::Verdict before) {
  return !is_open(before) && after > before;
}

std::unexpected<Error> errno_error(int rc) {
  return fail("lookup failed", -rc);
}

}  // namespace

NameHandler::NameHandler(const SessionObjects& session)
    : session_(session), kernel_(session.kernel), walk_(session.kernel, session.root) {}

Result<UniqueFd> NameHandler::open_start(const Caller& call, int fd) {
  std::string link = fd == AT_FDCWD ? "cwd" : "fd/" + std::to_string(fd);
  if (fd != AT_FDCWD && fd < 0) return fail("bad descriptor", EBADF);
  int opened = call.open_link(link.c_str());
  if (opened == -ENOENT && fd != AT_FDCWD) return fail("bad descriptor", EBADF);
  if (opened < 0) return fail("cannot open the target's directory", kRefused);
  return UniqueFd(opened);
}

Result<NameHandler::End> NameHandler::open_end(const Caller& call, int fd, const std::string& path, bool is_link) {
  End end;
  if (path.empty()) return fail("empty path", ENOENT);
  UniqueFd start;
  if (!path.starts_with('/')) {
    auto opened = open_start(call, fd);
    if (!opened) return std::unexpected(opened.error());
    start = std::move(*opened);
  }
  std::string name = path;
  while (name.size() > 1 && name.ends_with('/')) {
    name.pop_back();
    end.must_be_directory = true;
  }
  size_t slash = name.find_last_of('/');
  end.last = slash == std::string::npos ? name : name.substr(slash + 1);
  // As filename_parentat() and its callers answer a last element that is no plain name.
  if (end.last.empty() || end.last == "." || end.last == "..")
    return fail("not a plain name", is_link ? EEXIST : EBUSY);
  auto parent = walk_.locate(call, start.get(), slash == std::string::npos ? "." : name.substr(0, slash + 1),
                             LastElement::follow);
  if (!parent) return std::unexpected(parent.error());
  if (!S_ISDIR(parent->st.st_mode)) return fail("not a directory", ENOTDIR);
  auto real = kernel_.real_path(parent->fd.get());
  if (!real || !real->starts_with('/')) return fail("directory has no name in the session's root", kRefused);
  end.parent = std::move(parent->fd);
  end.real = *real == "/" ? "/" + end.last : *real + "/" + end.last;
  int object = kernel_.open_at(end.parent.get(), end.last.c_str(), O_PATH | O_NOFOLLOW, 0);
  if (object < 0 && object != -ENOENT) return errno_error(object);
  if (object < 0) return end;
  end.object.reset(object);
  if (int rc = kernel_.stat(object, end.st); rc < 0) return errno_error(rc);
  return end;
}

// The first argument of linkat(2) may be followed, or be a descriptor.
Result<NameHandler::End> NameHandler::open_linked(const Caller& call, int fd, const std::string& path, unsigned flags) {
  bool by_descriptor = path.empty() && (flags & AT_EMPTY_PATH) != 0;
  if (!by_descriptor && (flags & AT_SYMLINK_FOLLOW) == 0) return open_end(call, fd, path, true);
  End end;
  if (by_descriptor) {
    auto opened = open_start(call, fd);
    if (!opened) return std::unexpected(opened.error());
    end.object = std::move(*opened);
    if (int rc = kernel_.stat(end.object.get(), end.st); rc < 0) return errno_error(rc);
  } else {
    UniqueFd start;
    if (!path.starts_with('/')) {
      auto opened = open_start(call, fd);
      if (!opened) return std::unexpected(opened.error());
      start = std::move(*opened);
    }
    auto located = walk_.locate(call, start.get(), path, LastElement::follow);
    if (!located) return std::unexpected(located.error());
    end.object = std::move(located->fd);
    end.st = located->st;
  }
  auto real = kernel_.real_path(end.object.get());
  if (!real) return fail("object has no name", ENOENT);
  end.real = *real;
  return end;
}

bool NameHandler::may_be_reached_beneath(const std::string& directory) const {
  for (size_t i = 0; i < session_.layers.size(); ++i) {
    const policy::RuleSet& layer = session_.layers.layer(i);
    if (layer.judges_unix_sockets() && !layer.may_allow_beneath(directory)) return false;
  }
  return true;
}

std::optional<policy::Decision> NameHandler::socket_widening(const std::string& from, const std::string& to) const {
  for (auto operation : {policy::UnixOperation::connect, policy::UnixOperation::listen}) {
    policy::Decision before = session_.layers.judge_path(operation, from);
    policy::Decision after = session_.layers.judge_path(operation, to);
    if (is_wider(after.recorded, before.recorded)) return before;
  }
  // A socket that was bound where that is allowed must not turn up where it is not, or where nobody was asked about it.
  policy::Decision made = session_.layers.judge_path(policy::UnixOperation::bind, from);
  policy::Decision moved = session_.layers.judge_path(policy::UnixOperation::bind, to);
  if (made.recorded != policy::Verdict::deny && !is_open(moved.recorded)) return moved;
  return std::nullopt;
}

std::optional<policy::Decision> NameHandler::tree_widening(int directory, const std::string& from,
                                                           const std::string& to, int depth, int& budget) {
  // What cannot be looked through might hold a socket. The decision names no rule then.
  policy::Decision unknown;
  if (session_.layers.audit_only()) unknown.verdict = policy::Verdict::allow;
  if (depth > kMaxDepth) return unknown;
  int fd = kernel_.open_at(directory, ".", O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return unknown;
  std::unique_ptr<DIR, CloseDirectory> entries(::fdopendir(fd));
  if (!entries) {
    ::close(fd);
    return unknown;
  }
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr) {
      if (errno != 0) return unknown;
      return std::nullopt;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (--budget < 0) return unknown;
    if (entry->d_type != DT_SOCK && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) continue;
    struct stat st {};
    int found = kernel_.stat_at(fd, name.c_str(), st);
    if (found == -ENOENT) continue;  // gone meanwhile
    if (found < 0) return unknown;   // a directory that can be listed but not searched
    if (S_ISSOCK(st.st_mode)) {
      if (auto decision = socket_widening(from + "/" + name, to + "/" + name)) return decision;
    }
    if (!S_ISDIR(st.st_mode)) continue;
    if (!may_be_reached_beneath(to + "/" + name)) continue;
    int child = kernel_.open_at(fd, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
    if (child == -ENOENT) continue;
    if (child < 0) return unknown;
    UniqueFd owned(child);
    if (auto decision = tree_widening(child, from + "/" + name, to + "/" + name, depth + 1, budget)) return decision;
  }
}

std::optional<policy::Decision> NameHandler::widening(const End& from, const std::string& to) {
  if (!from.object) return std::nullopt;
  if (S_ISSOCK(from.st.st_mode)) return socket_widening(from.real, to);
  if (!S_ISDIR(from.st.st_mode) || !may_be_reached_beneath(to)) return std::nullopt;
  int budget = kMaxEntries;
  return tree_widening(from.object.get(), from.real, to, 0, budget);
}

Outcome NameHandler::handle(const Caller& call, CallContext& context) {
  const uint64_t* a = call.arguments;
  auto as_fd = [](uint64_t value) { return static_cast<int>(static_cast<uint32_t>(value)); };
  Arguments arguments{};
  switch (call.number) {
#ifdef SYS_rename
    case SYS_rename:
      arguments = {"rename", AT_FDCWD, a[0], AT_FDCWD, a[1]};
      break;
#endif
#ifdef SYS_link
    case SYS_link:
      arguments = {"link", AT_FDCWD, a[0], AT_FDCWD, a[1], 0, true};
      break;
#endif
#ifdef SYS_renameat
    case SYS_renameat:
      arguments = {"rename", as_fd(a[0]), a[1], as_fd(a[2]), a[3]};
      break;
#endif
    case SYS_renameat2:
      arguments = {"rename", as_fd(a[0]), a[1], as_fd(a[2]), a[3], static_cast<unsigned>(a[4])};
      break;
    case SYS_linkat:
      arguments = {"link", as_fd(a[0]), a[1], as_fd(a[2]), a[3], static_cast<unsigned>(a[4]), true};
      break;
    default:
      return {.answer = Answer::errno_of(ENOSYS), .record = std::nullopt};
  }
  constexpr unsigned kLinkFlags = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH;
  constexpr unsigned kRenameFlags = RENAME_NOREPLACE | RENAME_EXCHANGE;
  if ((arguments.flags & ~(arguments.is_link ? kLinkFlags : kRenameFlags)) != 0) {
    return {.answer = Answer::errno_of(EINVAL), .record = std::nullopt};
  }

  Record record{.operation = arguments.operation};
  auto refuse = [&](int error) -> Outcome {
    call.name(record);
    return {.answer = Answer::errno_of(error), .record = std::move(record)};
  };
  auto failed = [&](const Error& error) -> Outcome {
    if (error.code != kRefused) return {.answer = Answer::errno_of(error.code), .record = std::nullopt};
    record.reason = error.message;
    return refuse(EACCES);
  };

  auto old_path = call.copy_path(arguments.old_path);
  if (!old_path) return failed(old_path.error());
  auto new_path = call.copy_path(arguments.new_path);
  if (!new_path) return failed(new_path.error());

  std::lock_guard lock(*session_.names_lock);
  auto from = arguments.is_link ? open_linked(call, arguments.old_fd, *old_path, arguments.flags)
                                : open_end(call, arguments.old_fd, *old_path, false);
  if (!from) return failed(from.error());
  auto to = open_end(call, arguments.new_fd, *new_path, arguments.is_link);
  if (!to) return failed(to.error());
  if (!from->object) return {.answer = Answer::errno_of(ENOENT), .record = std::nullopt};
  if (from->must_be_directory && !S_ISDIR(from->st.st_mode)) {
    return {.answer = Answer::errno_of(ENOTDIR), .record = std::nullopt};
  }
  if (to->must_be_directory && !S_ISDIR(from->st.st_mode)) {
    return {.answer = Answer::errno_of(arguments.is_link ? ENOENT : ENOTDIR), .record = std::nullopt};
  }
  record.path = from->real;
  record.target = to->real;
  if (is_protected(from->real) || is_protected(to->real)) {
    record.reason = "protected";
    return refuse(EACCES);
  }
  auto forbidden = widening(*from, to->real);
  if (!forbidden && (arguments.flags & RENAME_EXCHANGE) != 0 && !arguments.is_link)
    forbidden = widening(*to, from->real);
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (forbidden) {
    record.decision = *forbidden;
    if (!forbidden->permits()) return refuse(EACCES);
  }

  context.may_wait();
  int rc;
  if (!arguments.is_link) {
    rc = call.act().rename(from->parent.get(), from->last.c_str(), to->parent.get(), to->last.c_str(), arguments.flags);
  } else if (from->last.empty()) {
    rc = call.act().link(from->object.get(), "", to->parent.get(), to->last.c_str());
  } else {
    rc = call.act().link(from->parent.get(), from->last.c_str(), to->parent.get(), to->last.c_str());
  }
  if (!forbidden) return {.answer = Answer::of(rc), .record = std::nullopt};
  record.done = true;
  return {.answer = Answer::of(rc), .record = std::move(record)};
}

}  // namespace wrapd::supervisor
