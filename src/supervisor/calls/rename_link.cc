// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/rename_link.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

#include "plan/traps.h"

namespace wrapd::supervisor {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxKeptBytes = 16U << 20;
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

Result<NameHandler::End> NameHandler::open_end(const Caller& call, int fd, const std::string& path) {
  if (path.empty()) return fail("empty path", ENOENT);
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
  if (!S_ISDIR(parent->st.st_mode)) return fail("not a directory", ENOTDIR);
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
  if (int rc = kernel_.stat(object, end.object.st); rc < 0) return errno_error(rc);
  return end;
}

// The first argument of linkat(2) is any object; it may be followed, or be a descriptor.
Result<Located> NameHandler::open_linked(const Caller& call, int fd, const std::string& path, unsigned flags) {
  UniqueFd start;
  if (path.empty() && (flags & AT_EMPTY_PATH) == 0) return fail("empty path", ENOENT);
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
  if (int rc = kernel_.stat(located.fd.get(), located.st); rc < 0) return errno_error(rc);
  return located;
}

bool NameHandler::never_widens(const std::string& from, const std::string& to) const {
  for (size_t i = 0; i < session_.layers.size(); ++i) {
    const policy::RuleSet& layer = session_.layers.layer(i);
    if (!layer.judges_unix_sockets()) continue;
    // Either way of a layer's is enough: the strictest of the layers counts before and after.
    auto opens_nothing = [&](policy::UnixOperation operation) {
      auto before = layer.uniform_beneath(operation, from);
      if (before && is_open(*before)) return true;
      auto after = layer.uniform_beneath(operation, to);
      return after && (*after == policy::Verdict::deny || (before && *after <= *before));
    };
    auto may_come = [&] {
      auto before = layer.uniform_beneath(policy::UnixOperation::bind, from);
      if (before && *before == policy::Verdict::deny) return true;
      auto after = layer.uniform_beneath(policy::UnixOperation::bind, to);
      return after && is_open(*after);
    };
    if (!opens_nothing(policy::UnixOperation::connect) || !opens_nothing(policy::UnixOperation::listen) || !may_come())
      return false;
  }
  return true;
}

policy::Decision NameHandler::kept_by(size_t layer, int32_t rule) const {
  policy::Decision decision{.layer = static_cast<uint8_t>(layer), .rule = rule};
  if (session_.layers.layer(layer).unix_socket_mode() != policy::Mode::enforce) {
    decision.verdict = policy::Verdict::allow;
  }
  return decision;
}

void NameHandler::learn_kept() {
  for (size_t i = 0; i < session_.layers.size(); ++i) {
    auto names = session_.layers.layer(i).kept_names(kMaxKeptBytes);
    if (!names) {
      auto decision = kept_by(i, -1);
      if (!keeps_all_ || decision.verdict < keeps_all_->verdict) keeps_all_ = decision;
      continue;
    }
    for (auto& name : *names) {
      std::string last = name.path.substr(name.path.rfind('/') + 1);
      kept_.push_back({std::move(last), std::move(name.path), i, name.rule, name.leads});
    }
  }
  std::ranges::sort(kept_, {}, &Kept::last);
}

// True if the end is this name, or the same by a mount of the directory in another place. What leads to it then has the
// same last element, for a directory has one name.
bool NameHandler::is_kept(const End& end, const std::string& path) {
  if (path == end.real) return true;
  kernel::ObjectId id;
  const auto sight = session_.identities.find(path.substr(0, std::max<size_t>(path.rfind('/'), 1)), id);
  if (sight != Identities::Sight::clear) return true;
  return S_ISDIR(id.mode) && id.device == end.parent.st.st_dev && id.inode == end.parent.st.st_ino;
}

std::optional<policy::Decision> NameHandler::keeps(const End& end, std::optional<mode_t> made) {
  if (end.name.empty()) return std::nullopt;
  std::call_once(kept_once_, [&] { learn_kept(); });
  std::optional<policy::Decision> strictest = keeps_all_;
  for (const Kept& kept : std::ranges::equal_range(kept_, end.name, {}, &Kept::last)) {
    if (!kept.leads) {
      if (!made) continue;
      if (S_ISSOCK(*made) && session_.layers.judge_path(policy::UnixOperation::bind, kept.path).permits()) continue;
      // An earlier rule may open the name that this one closes.
      const policy::RuleSet& layer = session_.layers.layer(kept.layer);
      if (is_open(layer.judge_path(policy::UnixOperation::connect, kept.path).verdict) &&
          is_open(layer.judge_path(policy::UnixOperation::listen, kept.path).verdict)) {
        continue;
      }
    }
    policy::Decision decision = kept_by(kept.layer, kept.rule);
    if ((strictest && decision.verdict >= strictest->verdict) || !is_kept(end, kept.path)) continue;
    strictest = decision;
  }
  return strictest;
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
    struct stat st {};  // the directory says what is there, not what is mounted on it
    int found = kernel_.stat_at(fd, name.c_str(), st);
    if (found == -ENOENT) continue;  // gone meanwhile
    if (found < 0) return unknown;   // a directory that can be listed but not searched
    if (S_ISSOCK(st.st_mode)) {
      if (auto decision = socket_widening(from + "/" + name, to + "/" + name)) return decision;
    }
    if (!S_ISDIR(st.st_mode)) continue;
    if (never_widens(from + "/" + name, to + "/" + name)) continue;
    int child = kernel_.open_at(fd, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
    if (child == -ENOENT) continue;
    if (child < 0) return unknown;
    UniqueFd owned(child);
    if (auto decision = tree_widening(child, from + "/" + name, to + "/" + name, depth + 1, budget)) return decision;
  }
}

std::optional<policy::Decision> NameHandler::widening(const Located& object, const std::string& from,
                                                      const std::string& to) {
  if (!object.fd) return std::nullopt;
  if (S_ISSOCK(object.st.st_mode)) return socket_widening(from, to);
  if (!S_ISDIR(object.st.st_mode) || never_widens(from, to)) return std::nullopt;
  int budget = kMaxEntries;
  return tree_widening(object.fd.get(), from, to, 0, budget);
}

Outcome NameHandler::failed(const Caller& call, Record record, const Error& error) {
  if (error.code != kRefused) return {.answer = Answer::errno_of(error.code), .record = std::nullopt};
  record.reason = error.message;
  call.name(record);
  return {.answer = Answer::errno_of(EACCES), .record = std::move(record)};
}

// Does the call, if nothing forbids it.
template <class Act>
NameHandler::Attempt NameHandler::decide(const Caller& call, CallContext& context, Turn& turn, Judged judged, Act act) {
  Record& record = judged.record;
  if (is_protected(record.path) || is_protected(record.target)) {
    return failed(call, std::move(record), Error{"protected", kRefused});
  }
  if (!call.waits()) return Outcome{.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (judged.forbidden) {
    record.decision = *judged.forbidden;
    if (!record.decision.permits()) {
      call.name(record);
      return Outcome{.answer = Answer::errno_of(EACCES), .record = std::move(record)};
    }
  }
  if (!turn.take()) return std::nullopt;
  if (!context.may_wait()) return Outcome{.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  Answer answer = Answer::of(act());
  if (!judged.forbidden) return Outcome{.answer = answer, .record = std::nullopt};
  record.done = true;
  return Outcome{.answer = answer, .record = std::move(record)};
}

Result<NameHandler::Paths> NameHandler::copy_paths(const Caller& call, const Arguments& arguments) {
  auto old_path = call.copy_path(arguments.old_path);
  if (!old_path) return std::unexpected(old_path.error());
  return Paths{.old_path = std::move(*old_path), .new_path = call.copy_path(arguments.new_path)};
}

Result<NameHandler::End> NameHandler::open_new_end(const Caller& call, const Arguments& arguments, const Paths& paths) {
  if (!paths.new_path) return std::unexpected(paths.new_path.error());
  return open_end(call, arguments.new_fd, *paths.new_path);
}

NameHandler::Attempt NameHandler::rename(const Caller& call, CallContext& context, const Arguments& arguments,
                                         Turn& turn) {
  Judged judged;
  Record& record = judged.record;
  record.operation = arguments.operation;
  auto paths = copy_paths(call, arguments);
  if (!paths) return failed(call, record, paths.error());

  auto from = open_end(call, arguments.old_fd, paths->old_path);
  if (!from) return failed(call, record, from.error());
  auto to = open_new_end(call, arguments, *paths);
  if (!to) return failed(call, record, to.error());
  auto act = [&] {
    return call.act().rename(from->parent.fd.get(), from->last.c_str(), to->parent.fd.get(), to->last.c_str(),
                             arguments.flags);
  };
  // Never done, and the kernel knows best why.
  if (from->name.empty() || to->name.empty()) return decide(call, context, turn, std::move(judged), act);
  // Not left to the kernel: there may be something by then.
  if (!from->object.fd || to->dead || (to->error != 0 && to->error != ENOENT)) {
    int error = from->error != 0 ? from->error : to->error;
    if (kernel_.mount_id(from->parent.fd.get()) != kernel_.mount_id(to->parent.fd.get())) error = EXDEV;
    return Outcome{.answer = Answer::errno_of(error), .record = std::nullopt};
  }
  record.path = from->real;
  record.target = to->real;
  const bool exchange = (arguments.flags & RENAME_EXCHANGE) != 0;
  judged.forbidden = keeps(*from, exchange ? std::optional(to->object.st.st_mode) : std::nullopt);
  if (!judged.forbidden) judged.forbidden = keeps(*to, from->object.st.st_mode);
  if (!judged.forbidden) judged.forbidden = widening(from->object, from->real, to->real);
  if (!judged.forbidden && exchange) judged.forbidden = widening(to->object, to->real, from->real);
  return decide(call, context, turn, std::move(judged), act);
}

NameHandler::Attempt NameHandler::link(const Caller& call, CallContext& context, const Arguments& arguments,
                                       Turn& turn) {
  Judged judged;
  Record& record = judged.record;
  record.operation = arguments.operation;
  auto paths = copy_paths(call, arguments);
  if (!paths) return failed(call, record, paths.error());

  auto source = open_linked(call, arguments.old_fd, paths->old_path, arguments.flags);
  if (!source) return failed(call, record, source.error());
  auto to = open_new_end(call, arguments, *paths);
  if (!to) return failed(call, record, to.error());
  if (to->dead) return Outcome{.answer = Answer::errno_of(ENOENT), .record = std::nullopt};
  int object = source->fd.get();
  auto act = [&] { return call.act().link(object, "", to->parent.fd.get(), to->last.c_str()); };
  record.target = to->real;
  // What has no link left gets none again, but for files that were made without one.
  if (to->name.empty() || !S_ISSOCK(source->st.st_mode) || source->st.st_nlink == 0) {
    judged.forbidden = keeps(*to, source->st.st_mode);
    return decide(call, context, turn, std::move(judged), act);
  }
  auto from = NamedObject::of(kernel_, session_.root, std::move(*source));
  if (!from) return failed(call, record, from.error());
  object = from->fd();
  record.path = from->path();
  judged.forbidden = keeps(*to, S_IFSOCK);
  if (!judged.forbidden) judged.forbidden = socket_widening(from->path(), to->real);
  return decide(call, context, turn, std::move(judged), act);
}

NameHandler::Attempt NameHandler::symlink(const Caller& call, CallContext& context, const Arguments& arguments,
                                          Turn& turn) {
  Judged judged;
  Record& record = judged.record;
  record.operation = arguments.operation;
  auto paths = copy_paths(call, arguments);
  if (!paths) return failed(call, record, paths.error());
  const std::string& target = paths->old_path;
  if (target.empty()) return Outcome{.answer = Answer::errno_of(ENOENT), .record = std::nullopt};

  auto to = open_new_end(call, arguments, *paths);
  if (!to) return failed(call, record, to.error());
  if (to->dead) return Outcome{.answer = Answer::errno_of(ENOENT), .record = std::nullopt};
  record.path = to->real;
  judged.forbidden = keeps(*to, S_IFLNK);
  return decide(call, context, turn, std::move(judged),
                [&] { return call.act().symlink(target.c_str(), to->parent.fd.get(), to->last.c_str()); });
}

Outcome NameHandler::handle(const Caller& call, CallContext& context) {
  const uint64_t* a = call.arguments;
  auto as_fd = [](uint64_t value) { return static_cast<int>(static_cast<uint32_t>(value)); };
  auto flags = [](uint64_t value) { return static_cast<unsigned>(value); };
  constexpr unsigned kLinkFlags = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH;
  constexpr unsigned kRenameFlags = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  const Outcome invalid{.answer = Answer::errno_of(EINVAL), .record = std::nullopt};
  auto in_turn = [&](auto attempt, const Arguments& arguments) {
    return session_.names_lock->in_turn([&](Turn& turn) { return (this->*attempt)(call, context, arguments, turn); });
  };
  const plan::Trap* trap = plan::find_trap(call.number);
  if (trap == nullptr) return {.answer = Answer::errno_of(ENOSYS), .record = std::nullopt};
  switch (trap->call) {
    case plan::Call::rename:
      return in_turn(&NameHandler::rename, {"rename", AT_FDCWD, a[0], AT_FDCWD, a[1]});
    case plan::Call::link:
      return in_turn(&NameHandler::link, {"link", AT_FDCWD, a[0], AT_FDCWD, a[1]});
    case plan::Call::symlink:
      return in_turn(&NameHandler::symlink, {"symlink", AT_FDCWD, a[0], AT_FDCWD, a[1]});
    case plan::Call::renameat:
      return in_turn(&NameHandler::rename, {"rename", as_fd(a[0]), a[1], as_fd(a[2]), a[3]});
    case plan::Call::renameat2:
      if ((flags(a[4]) & ~kRenameFlags) != 0) return invalid;
      if ((flags(a[4]) & RENAME_EXCHANGE) != 0 && flags(a[4]) != RENAME_EXCHANGE) return invalid;
      return in_turn(&NameHandler::rename, {"rename", as_fd(a[0]), a[1], as_fd(a[2]), a[3], flags(a[4])});
    case plan::Call::linkat:
      if ((flags(a[4]) & ~kLinkFlags) != 0) return invalid;
      return in_turn(&NameHandler::link, {"link", as_fd(a[0]), a[1], as_fd(a[2]), a[3], flags(a[4])});
    case plan::Call::symlinkat:
      return in_turn(&NameHandler::symlink, {"symlink", AT_FDCWD, a[0], as_fd(a[1]), a[2]});
    default:
      return {.answer = Answer::errno_of(ENOSYS), .record = std::nullopt};
  }
}

}  // namespace wrapd::supervisor
