// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/rename_link.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "plan/traps.h"
#include "supervisor/named_object.h"

namespace wrapd::supervisor {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxEntries = 20000;  // of a directory that is renamed and might carry sockets

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

RenameLinkHandler::RenameLinkHandler(const SessionObjects& session)
    : session_(session), kernel_(session.kernel), walk_(session.kernel, session.root), gate_(session) {}

ForTarget<UniqueFd> RenameLinkHandler::open_start(const Caller& call, int fd) {
  std::string link = fd == AT_FDCWD ? "cwd" : "fd/" + std::to_string(fd);
  if (fd != AT_FDCWD && fd < 0) return target_errno(EBADF);
  int opened = call.open_link(link.c_str());
  if (opened == -ENOENT && fd != AT_FDCWD) return target_errno(EBADF);
  if (opened < 0) return refusal("cannot open the target's directory");
  return UniqueFd(opened);
}

ForTarget<RenameLinkHandler::End> RenameLinkHandler::open_end(const Caller& call, int fd, const std::string& path) {
  if (path.empty()) return target_errno(ENOENT);
  UniqueFd start;
  if (!path.starts_with('/')) {
    auto opened = open_start(call, fd);
    if (!opened) return std::unexpected(opened.error());
    start = std::move(*opened);
  }
  size_t end_of_name = path.find_last_not_of('/');
  std::string stripped = path.substr(0, end_of_name == std::string::npos ? 0 : end_of_name + 1);
  size_t slash = stripped.find_last_of('/');
  std::string before = slash == std::string::npos ? "." : stripped.substr(0, slash + 1);
  if (stripped.empty()) before = "/";
  auto parent = walk_.locate(call, start.get(), before, LastElement::follow);
  if (!parent) return std::unexpected(parent.error());
  if (!S_ISDIR(parent->st.st_mode)) return target_errno(ENOTDIR);
  End end;
  end.name = slash == std::string::npos ? stripped : stripped.substr(slash + 1);
  if (end.name.empty() || end.name == "." || end.name == "..") {
    end.last = end.name.empty() ? "." : end.name;
    end.name.clear();
    end.parent = std::move(*parent);
    return end;
  }
  end.last = end.name + (stripped.size() < path.size() ? "/" : "");
  if (parent->st.st_nlink == 0) {
    end.dead = true;
    end.error = ENOENT;
    end.parent = std::move(*parent);
    return end;
  }
  auto named = NamedObject::of(kernel_, session_.root, std::move(*parent));
  if (!named) return std::unexpected(named.error());
  end.real = named->beneath(end.name);
  end.parent = std::move(*named).release();
  int object = kernel_.open_at(end.parent.fd.get(), end.name.c_str(), O_PATH | O_NOFOLLOW, 0);
  if (object < 0) {
    end.error = -object;
    return end;
  }
  end.object.fd.reset(object);
  if (int rc = kernel_.stat(object, end.object.st); rc < 0) return target_errno(-rc);
  return end;
}

// The first argument of linkat(2) is any object; it may be followed, or be a descriptor.
ForTarget<Located> RenameLinkHandler::open_linked(const Caller& call, int fd, const std::string& path, unsigned flags) {
  UniqueFd start;
  if (path.empty() && (flags & AT_EMPTY_PATH) == 0) return target_errno(ENOENT);
  if (!path.starts_with('/')) {
    auto opened = open_start(call, fd);
    if (!opened) return std::unexpected(opened.error());
    start = std::move(*opened);
  }
  if (!path.empty()) {
    return walk_.locate(call, start.get(), path,
                        (flags & AT_SYMLINK_FOLLOW) != 0 ? LastElement::follow : LastElement::keep);
  }
  Located located{.fd = std::move(start)};
  if (int rc = kernel_.stat(located.fd.get(), located.st); rc < 0) return target_errno(-rc);
  return located;
}

// What a call begins with. The text of a symbolic link is not looked up.
ForTarget<RenameLinkHandler::End> RenameLinkHandler::open_old(const Caller& call, const Arguments& arguments,
                                                              const std::string& path) {
  if (arguments.kind == Kind::rename) return open_end(call, arguments.old_fd, path);
  End end;
  if (arguments.kind == Kind::symlink) {
    if (path.empty()) return target_errno(ENOENT);
    return end;
  }
  auto linked = open_linked(call, arguments.old_fd, path, arguments.flags);
  if (!linked) return std::unexpected(linked.error());
  end.object = std::move(*linked);
  return end;
}

std::optional<policy::Decision> RenameLinkHandler::forbids_tree(int directory, const std::string& from,
                                                                const std::string& to, int depth, int& budget) {
  // What cannot be looked through might hold a socket.
  const policy::Decision unknown = gate_.name_rules().unknown();
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
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (auto decision = forbids_entry(fd, entry->d_name, from, to, depth, budget)) return decision;
  }
}

std::optional<policy::Decision> RenameLinkHandler::forbids_entry(int directory, const char* name,
                                                                 const std::string& from, const std::string& to,
                                                                 int depth, int& budget) {
  NameRules& rules = gate_.name_rules();
  if (--budget < 0) return rules.unknown();
  struct stat st {};  // the directory says what is there, not what is mounted on it
  const int found = kernel_.stat_at(directory, name, st);
  if (found == -ENOENT) return std::nullopt;  // gone meanwhile
  if (found < 0) return rules.unknown();      // a directory that can be listed but not searched
  const std::string from_here = from + "/" + name, to_here = to + "/" + name;
  if (S_ISSOCK(st.st_mode)) return rules.forbids_socket(from_here, to_here);
  if (!S_ISDIR(st.st_mode) || rules.never_forbids(from_here, to_here)) return std::nullopt;
  const int child = kernel_.open_at(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
  if (child == -ENOENT) return std::nullopt;
  if (child < 0) return rules.unknown();
  UniqueFd owned(child);
  return forbids_tree(child, from_here, to_here, depth + 1, budget);
}

std::optional<policy::Decision> RenameLinkHandler::forbids(const Located& object, const std::string& from,
                                                           const std::string& to) {
  if (!object.fd) return std::nullopt;
  if (S_ISSOCK(object.st.st_mode)) return gate_.name_rules().forbids_socket(from, to);
  if (!S_ISDIR(object.st.st_mode) || gate_.name_rules().never_forbids(from, to)) return std::nullopt;
  int budget = kMaxEntries;
  return forbids_tree(object.fd.get(), from, to, 0, budget);
}

std::optional<policy::Decision> RenameLinkHandler::keeps(const End& end, std::optional<mode_t> made) {
  return gate_.name_rules().keeps({.last = end.name, .path = end.real, .parent = end.parent.st}, made);
}

// Does the call, if nothing forbids it.
template <class Act>
RenameLinkHandler::Attempt RenameLinkHandler::decide(Move& move, const std::optional<policy::Decision>& forbidden,
                                                     Act act) {
  if (auto refused = move.gated.judge_names(forbidden)) return refused;
  if (!move.turn.take()) {
    move.gated.withdraw();
    return std::nullopt;
  }
  return move.gated.act(act);
}

RenameLinkHandler::Attempt RenameLinkHandler::attempt(const Caller& call, CallContext& context,
                                                      const Arguments& arguments, Turn& turn) {
  GatedCall gated(gate_, call, context);
  auto old_path = call.copy_path(arguments.old_path);
  if (!old_path) return gated.failed(old_path.error());
  auto new_path = call.copy_path(arguments.new_path);
  auto from = open_old(call, arguments, *old_path);
  if (!from) return gated.failed(from.error());
  // Told when the name is used, as in the kernel.
  if (!new_path) return gated.failed(new_path.error());
  auto to = open_end(call, arguments.new_fd, *new_path);
  if (!to) return gated.failed(to.error());
  Move move{.call = call,
            .gated = gated,
            .turn = turn,
            .arguments = arguments,
            .old_path = *old_path,
            .from = std::move(*from),
            .to = std::move(*to)};
  if (arguments.kind == Kind::rename) return rename(move);
  if (move.to.dead) return gated.error(ENOENT);
  return arguments.kind == Kind::link ? link(move) : symlink(move);
}

RenameLinkHandler::Attempt RenameLinkHandler::rename(Move& move) {
  const End& from = move.from;
  const End& to = move.to;
  auto act = [&] {
    return move.call.act().rename(from.parent.fd.get(), from.last.c_str(), to.parent.fd.get(), to.last.c_str(),
                                  move.arguments.flags);
  };
  // Never done, and the kernel knows best why.
  if (from.name.empty() || to.name.empty()) return decide(move, std::nullopt, act);
  // Not left to the kernel: there may be something by then.
  if (!from.object.fd || to.dead || (to.error != 0 && to.error != ENOENT)) {
    if (kernel_.mount_id(from.parent.fd.get()) != kernel_.mount_id(to.parent.fd.get())) return move.gated.error(EXDEV);
    return move.gated.error(from.error != 0 ? from.error : to.error);
  }
  move.gated.about(from.real);
  move.gated.towards(to.real);
  const bool exchange = (move.arguments.flags & RENAME_EXCHANGE) != 0;
  auto forbidden = keeps(from, exchange ? std::optional(to.object.st.st_mode) : std::nullopt);
  if (!forbidden) forbidden = keeps(to, from.object.st.st_mode);
  if (!forbidden) forbidden = forbids(from.object, from.real, to.real);
  if (!forbidden && exchange) forbidden = forbids(to.object, to.real, from.real);
  return decide(move, forbidden, act);
}

RenameLinkHandler::Attempt RenameLinkHandler::link(Move& move) {
  const End& to = move.to;
  const struct stat source = move.from.object.st;
  move.gated.towards(to.real);
  auto forbidden = keeps(to, source.st_mode);
  // An object that has no link left gets none again, but for files that were made without one.
  if (!to.name.empty() && S_ISSOCK(source.st_mode) && source.st_nlink != 0) {
    auto named = NamedObject::of(kernel_, session_.root, std::move(move.from.object));
    if (!named) return move.gated.failed(named.error());
    move.gated.about(named->path());
    if (!forbidden) forbidden = gate_.name_rules().forbids_socket(named->path(), to.real);
    move.from.object = std::move(*named).release();
  }
  return decide(move, forbidden, [&] {
    return move.call.act().link(move.from.object.fd.get(), "", to.parent.fd.get(), to.last.c_str());
  });
}

RenameLinkHandler::Attempt RenameLinkHandler::symlink(Move& move) {
  const End& to = move.to;
  move.gated.about(to.real);
  return decide(move, keeps(to, S_IFLNK),
                [&] { return move.call.act().symlink(move.old_path.c_str(), to.parent.fd.get(), to.last.c_str()); });
}

ForTarget<RenameLinkHandler::Arguments> RenameLinkHandler::arguments_of(const Caller& call) {
  const uint64_t* a = call.arguments;
  auto fd = [&](int i) { return static_cast<int>(static_cast<uint32_t>(a[i])); };
  const auto flags = static_cast<unsigned>(a[4]);
  constexpr unsigned kLinkFlags = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH;
  constexpr unsigned kRenameFlags = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  const plan::Trap* trap = plan::find_trap(call.number);
  if (trap == nullptr) return target_errno(ENOSYS);
  switch (trap->call) {
    case plan::Call::rename:
      return Arguments{Kind::rename, AT_FDCWD, a[0], AT_FDCWD, a[1]};
    case plan::Call::link:
      return Arguments{Kind::link, AT_FDCWD, a[0], AT_FDCWD, a[1]};
    case plan::Call::symlink:
      return Arguments{Kind::symlink, AT_FDCWD, a[0], AT_FDCWD, a[1]};
    case plan::Call::renameat:
      return Arguments{Kind::rename, fd(0), a[1], fd(2), a[3]};
    case plan::Call::renameat2:
      if ((flags & ~kRenameFlags) != 0) return target_errno(EINVAL);
      if ((flags & RENAME_EXCHANGE) != 0 && flags != RENAME_EXCHANGE) return target_errno(EINVAL);
      return Arguments{Kind::rename, fd(0), a[1], fd(2), a[3], flags};
    case plan::Call::linkat:
      if ((flags & ~kLinkFlags) != 0) return target_errno(EINVAL);
      return Arguments{Kind::link, fd(0), a[1], fd(2), a[3], flags};
    case plan::Call::symlinkat:
      return Arguments{Kind::symlink, AT_FDCWD, a[0], fd(1), a[2]};
    default:
      return target_errno(ENOSYS);
  }
}

Outcome RenameLinkHandler::handle(const Caller& call, CallContext& context) {
  auto arguments = arguments_of(call);
  if (!arguments) return {.answer = Answer::errno_of(seen_by_target(arguments.error()))};
  return session_.names_lock->in_turn([&](Turn& turn) { return attempt(call, context, *arguments, turn); });
}

}  // namespace wrapd::supervisor
