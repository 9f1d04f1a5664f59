// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/socket.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <expected>
#include <functional>
#include <optional>

#include "kernel/uapi.h"
#include "supervisor/call_report.h"

namespace wrapd::supervisor {
namespace {

constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);
constexpr std::string_view kProtected[] = {"/run/wrapd", "/etc/wrapd"};
// An autobound socket's name is five hexadecimal digits of the kernel's choice (unix(7)).
constexpr std::string_view kAutobindName = "?????";

// A netlink socket without a number gets its process's where that is free (netlink_autobind()); in a call of ours that
// would be our own. `groups` is what the target asked for, where it binds.
std::optional<sockaddr_nl> netlink_name(kernel::Objects& kernel, int socket, const AddressCopy* asked, pid_t process) {
  sockaddr_storage now{};
  socklen_t length = sizeof now;
  if (kernel.socket_name(socket, now, length) < 0 || now.ss_family != AF_NETLINK) return std::nullopt;
  sockaddr_nl name{};
  std::memcpy(&name, &now, sizeof name);
  if (name.nl_pid != 0) return std::nullopt;
  if (asked != nullptr) {
    if (asked->length < sizeof name || asked->storage.ss_family != AF_NETLINK) return std::nullopt;
    std::memcpy(&name, &asked->storage, sizeof name);
    if (name.nl_pid != 0) return std::nullopt;
  }
  name.nl_pid = static_cast<uint32_t>(process);
  return name;
}

// The one address to which everybody may connect a netlink socket.
bool is_for_the_kernel(const AddressCopy& address) {
  sockaddr_nl name{};
  if (address.length < sizeof name || address.storage.ss_family != AF_NETLINK) return false;
  std::memcpy(&name, &address.storage, sizeof name);
  return name.nl_pid == 0 && name.nl_groups == 0;
}

// In the process that binds, "/proc/self" stands for the target, as long as the target calls itself so. Under its
// number it is another process, which Landlock hides there: then the name that says the same is bound. It is the one
// that getsockname(2) tells.
void name_own_process(AddressCopy& address, std::string path, pid_t process, pid_t thread) {
  const std::string by_number = "/proc/" + std::to_string(process) + "/";
  if (path.starts_with(by_number)) path = "/proc/self/" + path.substr(by_number.size());
  const std::string by_thread = "/proc/self/task/" + std::to_string(thread) + "/";
  if (path.starts_with(by_thread)) path = "/proc/thread-self/" + path.substr(by_thread.size());
  auto* name = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() > sizeof name->sun_path) return;
  std::memset(name->sun_path, 0, sizeof name->sun_path);
  std::memcpy(name->sun_path, path.data(), path.size());
  address.length = static_cast<socklen_t>(kPathOffset + path.size());
}

// What an answer is good for. The time of the last change of status tells an inode from one that has its number later.
std::string question_key(const Record& record, const struct stat* object) {
  std::string key = record.operation;
  key += '\0';
  if (object != nullptr) {
    for (uint64_t part :
         {uint64_t{object->st_dev}, uint64_t{object->st_ino}, static_cast<uint64_t>(object->st_ctim.tv_sec),
          static_cast<uint64_t>(object->st_ctim.tv_nsec)}) {
      key += std::to_string(part) + ":";
    }
  }
  key += '\0';
  return key + (record.abstract ? "@" : "") + record.path;
}

}  // namespace

UnixName decode_unix_name(const AddressCopy& address) {
  if (address.length < kPathOffset || address.length > sizeof(sockaddr_un)) return {};
  if (address.storage.ss_family != AF_UNIX) return {};
  if (address.length == kPathOffset) return {.kind = UnixName::Kind::unnamed, .text = {}};
  const char* bytes = reinterpret_cast<const char*>(&address.storage) + kPathOffset;
  size_t size = address.length - kPathOffset;
  if (bytes[0] == '\0') return {.kind = UnixName::Kind::abstract, .text = {bytes + 1, size - 1}};
  return {.kind = UnixName::Kind::path, .text = {bytes, ::strnlen(bytes, size)}};
}

bool is_protected(std::string_view path) {
  for (std::string_view place : kProtected) {
    if (path == place || (path.starts_with(place) && path[place.size()] == '/')) return true;
  }
  return false;
}

UnixSocketHandler::UnixSocketHandler(const SessionObjects& session)
    : session_(session), kernel_(session.kernel), walk_(session.kernel, session.root), bound_(session.kernel) {}

Outcome UnixSocketHandler::handle(const Caller& call, CallContext& context) {
  switch (call.number) {
    case SYS_connect:
      return connect(call, context);
    case SYS_bind:
      return bind(call, context);
    case SYS_listen:
      return listen(call, context);
    case SYS_socket:
    case SYS_socketpair:
      return refuse_datagram(call);
    default:
      return {.answer = Answer::errno_of(ENOSYS), .record = std::nullopt};
  }
}

Outcome UnixSocketHandler::denied(const Caller& call, Record record, int error) {
  record.done = false;
  call.name(record);
  return {.answer = Answer::errno_of(error), .record = std::move(record)};
}

// A step before the decision failed. What the target would have seen by itself is not a decision and is not recorded;
// what we refuse is.
Outcome UnixSocketHandler::failed(const Caller& call, const char* operation, const Error& error) {
  return failed(call, Record{.operation = operation}, error);
}

Outcome UnixSocketHandler::failed(const Caller& call, Record record, const Error& error) {
  if (error.code != kRefused) return {.answer = Answer::errno_of(error.code), .record = std::nullopt};
  record.reason = error.message;
  return denied(call, std::move(record));
}

// Nothing if the call may go on. `object`: what a path leads to, where there is something.
std::optional<Outcome> UnixSocketHandler::refuse(const Caller& call, Record& record, const struct stat* object) {
  if (record.decision.permits()) return std::nullopt;
  if (record.decision.verdict != policy::Verdict::ask) return denied(call, std::move(record));
  const std::string key = question_key(record, object);
  auto standing = session_.approvals.look_up(key);
  Outcome refused;
  if (!standing || standing->kind != Approvals::Standing::Kind::allowed) refused = denied(call, record);
  if (!standing) {
    // Whoever is asked is told what was read of the task.
    if (!call.waits()) return Outcome{.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    standing = session_.approvals.ask(key, call_report(session_.layers, *refused.record, call.tid),
                                      std::string(guidance_of(session_.layers, record.decision)));
  }
  if (standing->kind == Approvals::Standing::Kind::allowed) {
    record.approved = true;
    record.reason = standing->reason;
    return std::nullopt;
  }
  refused.question = standing->question;
  refused.record->reason = standing->reason;
  return refused;
}

template <class Call>
Outcome UnixSocketHandler::wait_through(CallContext& context, int socket, std::optional<Record> record, Call call) {
  const auto begin = std::chrono::steady_clock::now();
  auto with = [&](const Answer& answer) { return Outcome{.answer = answer, .record = std::move(record)}; };
  for (;;) {
    int rc = call();
    if (rc != -EINTR) return with(Answer::of(rc));
    const int error = context.interrupted();
    if (error == EAGAIN) {
      if (!record) record = Record{.operation = "connect"};
      record->done = false;
      record->decision = {};
      record->reason = kTooManyWait;
    }
    if (error != 0 && error != kRestart) return with(Answer::errno_of(error));
    const auto limit = send_timeout(socket);
    // signal(7): with a timeout, a call that was interrupted is not made anew, whatever the handler asks for.
    if (error == kRestart) return with(Answer::errno_of(limit ? EINTR : kRestart));
    if (limit && std::chrono::steady_clock::now() - begin >= *limit) return with(Answer::errno_of(EAGAIN));
  }
}

std::optional<std::chrono::microseconds> UnixSocketHandler::send_timeout(int socket) {
  timeval timeout{};
  if (kernel_.socket_option(socket, SO_SNDTIMEO, &timeout, sizeof timeout) < 0) return std::nullopt;
  if (timeout.tv_sec == 0 && timeout.tv_usec == 0) return std::nullopt;
  return std::chrono::seconds(timeout.tv_sec) + std::chrono::microseconds(timeout.tv_usec);
}

policy::Decision UnixSocketHandler::judge(policy::UnixOperation operation, const std::string& path) const {
  return session_.layers.judge_path(operation, path);
}

void UnixSocketHandler::judge(policy::UnixOperation operation, int object, Record& record) const {
  policy::Decision& decision = record.decision;
  decision = judge(operation, record.path);
  // Nothing is stricter than a denial.
  if (decision.verdict == policy::Verdict::deny && decision.recorded == policy::Verdict::deny) return;
  auto denial = session_.identities.denial(object, record.path);
  if (!denial) return;
  policy::Decision& other = denial->decision;
  if (other.verdict >= decision.verdict && other.recorded >= decision.recorded) return;
  other.verdict = policy::strictest(other.verdict, decision.verdict);
  other.recorded = policy::strictest(other.recorded, decision.recorded);
  decision = other;
  record.reason = denial->reason;
}

Outcome UnixSocketHandler::connect(const Caller& call, CallContext& context) {
  auto taken = call.take_socket_call();
  if (!taken) return failed(call, "connect", taken.error());
  const UniqueFd* socket = &taken->socket;
  const AddressCopy* address = &taken->address;
  int domain = -1;
  if (int rc = kernel_.socket_option(socket->get(), SO_DOMAIN, &domain, sizeof domain); rc < 0) {
    return {.answer = Answer::of(rc), .record = std::nullopt};  // ENOTSOCK, EBADF
  }
  if (domain != AF_UNIX) {
    if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    // A peer far away may take minutes. That O_NONBLOCK can be changed meanwhile costs the target its own time only.
    const bool there = kernel_.non_blocking(socket->get()) ? context.may_wait() : context.will_wait();
    if (!there) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    // Fails for a socket that has a number, and otherwise it gets one of ours by the call.
    if (domain == AF_NETLINK && is_for_the_kernel(*address)) (void)bind_netlink(call, socket->get(), nullptr);
    return wait_through(context, socket->get(), std::nullopt,
                        [&] { return call.act().connect(socket->get(), address->get(), address->length); });
  }
  UnixName name = decode_unix_name(*address);
  switch (name.kind) {
    case UnixName::Kind::path:
      return connect_path(call, context, socket->get(), name.text);
    case UnixName::Kind::abstract:
      return connect_abstract(call, context, socket->get(), *address, name.text);
    case UnixName::Kind::unnamed:
    case UnixName::Kind::invalid:
      break;
  }
  // Nothing is named: the kernel refuses it, or (AF_UNSPEC on a datagram socket) ends an association.
  if (address->length >= sizeof(sa_family_t) && address->storage.ss_family == AF_UNIX) {
    return {.answer = Answer::errno_of(EINVAL), .record = std::nullopt};
  }
  if (!call.waits() || !context.may_wait()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  return {.answer = Answer::of(call.act().connect(socket->get(), address->get(), address->length)),
          .record = std::nullopt};
}

Outcome UnixSocketHandler::connect_path(const Caller& call, CallContext& context, int socket, std::string_view name) {
  std::string path(name);
  UniqueFd directory;
  if (!path.starts_with('/')) {
    directory.reset(call.open_link("cwd"));
    if (!directory) return failed(call, "connect", Error{"cannot open the target's directory", kRefused});
  }
  Record record{.operation = "connect"};
  auto object = walk_.locate(call, directory.get(), path, LastElement::follow);
  if (!object) {
    record.path = path;
    if (is_protected(path)) {
      record.reason = "protected";
      return denied(call, std::move(record));
    }
    if (object.error().code != kRefused)
      return {.answer = Answer::errno_of(object.error().code), .record = std::nullopt};
    record.reason = object.error().message;
    return denied(call, std::move(record));
  }
  if (object->st.st_nlink == 0) return connect_nameless(call, context, socket, *object, std::move(record));
  auto named = NamedObject::of(kernel_, session_.root, std::move(*object));
  if (!named) {
    record.path = path;
    return failed(call, std::move(record), named.error());
  }
  record.path = named->path();
  if (is_protected(record.path)) {
    record.reason = "protected";
    return denied(call, std::move(record));
  }
  judge(policy::UnixOperation::connect, named->fd(), record);
  // Everything above was read by the task's number: it counts only if the task is still there, in this call.
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (auto refused = refuse(call, record, &named->st())) return std::move(*refused);
  record.done = true;
  if (!context.may_wait_for(named->st().st_ino | 1)) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  return wait_through(context, socket, std::move(record),
                      [&] { return call.act().connect_object(socket, named->fd()); });
}

// What was unlinked can be reached by a descriptor. It has no name that could be judged, which does no harm
// where all names are allowed.
Outcome UnixSocketHandler::connect_nameless(const Caller& call, CallContext& context, int socket, const Located& object,
                                            Record record) {
  if (!S_ISSOCK(object.st.st_mode) || !kernel_.has_bound_socket(object.fd.get()))
    return {.answer = Answer::errno_of(ECONNREFUSED), .record = std::nullopt};
  auto text = kernel_.real_path(object.fd.get());
  record.path = text.value_or("");
  record.decision = session_.layers.judge_any_path(policy::UnixOperation::connect);
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (!record.decision.permits()) {
    record.reason = "object has no name";
    return denied(call, std::move(record));
  }
  record.done = true;
  if (!context.may_wait_for(object.st.st_ino | 1)) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  return wait_through(context, socket, std::move(record),
                      [&] { return call.act().connect_object(socket, object.fd.get()); });
}

Outcome UnixSocketHandler::connect_abstract(const Caller& call, CallContext& context, int socket,
                                            const AddressCopy& address, std::string_view name) {
  Record record{.operation = "connect"};
  record.path = std::string(name);
  record.abstract = true;
  record.decision = session_.layers.judge_abstract(policy::UnixOperation::connect, name);
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (auto refused = refuse(call, record, nullptr)) return std::move(*refused);
  record.done = true;
  if (!context.may_wait_for(std::hash<std::string_view>{}(name) | 1)) {
    return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  }
  return wait_through(context, socket, std::move(record),
                      [&] { return call.act().connect(socket, address.get(), address.length); });
}

// Gives a netlink socket the number that it would get natively, as `asked` or, without it, before it is connected.
// -EADDRINUSE where the call itself has to do it.
int UnixSocketHandler::bind_netlink(const Caller& call, int socket, const AddressCopy* asked) {
  kernel::TaskStatus status;
  auto name = call.status(status) == 0 ? netlink_name(kernel_, socket, asked, status.tgid) : std::nullopt;
  if (!name || !call.waits()) return -EADDRINUSE;
  return call.act().bind(socket, reinterpret_cast<const sockaddr*>(&*name), sizeof *name);
}

Outcome UnixSocketHandler::bind(const Caller& call, CallContext& context) {
  auto taken = call.take_socket_call();
  if (!taken) return failed(call, "bind", taken.error());
  const UniqueFd* socket = &taken->socket;
  const AddressCopy* address = &taken->address;
  int domain = -1;
  if (int rc = kernel_.socket_option(socket->get(), SO_DOMAIN, &domain, sizeof domain); rc < 0) {
    return {.answer = Answer::of(rc), .record = std::nullopt};
  }
  UnixName name = domain == AF_UNIX ? decode_unix_name(*address) : UnixName{};
  if (name.kind == UnixName::Kind::path) return bind_path(call, context, socket->get(), *address, name.text);
  if (name.kind == UnixName::Kind::invalid) {
    // Another family, or an address that the kernel refuses.
    if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    if (domain == AF_UNIX) return {.answer = Answer::errno_of(EINVAL), .record = std::nullopt};
    if (!context.may_wait()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    if (domain == AF_NETLINK) {
      if (int rc = bind_netlink(call, socket->get(), address); rc != -EADDRINUSE)
        return {.answer = Answer::of(rc), .record = std::nullopt};
    }
    return {.answer = Answer::of(call.act().bind(socket->get(), address->get(), address->length)),
            .record = std::nullopt};
  }
  Record record{.operation = "bind"};
  record.abstract = true;
  record.path = std::string(name.kind == UnixName::Kind::unnamed ? kAutobindName : name.text);
  record.decision = session_.layers.judge_abstract(policy::UnixOperation::bind, record.path);
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (auto refused = refuse(call, record, nullptr)) return std::move(*refused);
  if (!context.may_wait()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  record.done = true;
  return {.answer = Answer::of(call.act().bind(socket->get(), address->get(), address->length)),
          .record = std::move(record)};
}

// The directory in which a socket is to be made, and the outcome where that is clear without it.
std::expected<UnixSocketHandler::BindPlace, Outcome> UnixSocketHandler::find_bind_place(const Caller& call,
                                                                                        std::string path) {
  auto fails = [&](const Error& error) { return std::unexpected(failed(call, "bind", error)); };
  auto fails_with = [](int error) {
    return std::unexpected(Outcome{.answer = Answer::errno_of(error), .record = std::nullopt});
  };
  UniqueFd directory;
  if (!path.starts_with('/')) {
    directory.reset(call.open_link("cwd"));
    if (!directory) return fails(Error{"cannot open the target's directory", kRefused});
  }
  const size_t slash = path.find_last_of('/');
  std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string parent_name = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (last.empty() || last == "." || last == "..") {
    // filename_create() takes a plain last element only, and finds a link by itself behind a slash, too.
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    auto existing = walk_.locate(call, directory.get(), path, LastElement::keep);
    if (!existing) return fails(existing.error());
    return fails_with(EADDRINUSE);
  }
  Record record{.operation = "bind", .path = path};
  auto parent = walk_.locate(call, directory.get(), parent_name, LastElement::follow);
  if (!parent) {
    if (!is_protected(path)) return fails(parent.error());
    record.reason = "protected";
    return std::unexpected(denied(call, std::move(record)));
  }
  if (!S_ISDIR(parent->st.st_mode)) return fails_with(ENOTDIR);
  auto named = NamedObject::of(kernel_, session_.root, std::move(*parent));
  if (!named) return std::unexpected(failed(call, std::move(record), named.error()));
  return BindPlace{.directory = std::move(directory), .parent = std::move(*named), .last = std::move(last)};
}

Outcome UnixSocketHandler::bind_path(const Caller& call, CallContext& context, int socket, const AddressCopy& address,
                                     std::string_view name) {
  const std::string path(name);
  auto place = find_bind_place(call, path);
  if (!place) return std::move(place.error());
  Record record{.operation = "bind", .path = place->parent.beneath(place->last)};
  if (is_protected(record.path)) {
    record.reason = "protected";
    return denied(call, std::move(record));
  }
  record.decision = judge(policy::UnixOperation::bind, record.path);
  kernel::TaskStatus status;
  const bool known = call.status(status) == 0;
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (auto refused = refuse(call, record, nullptr)) return std::move(*refused);
  if (!known) {
    record.reason = "cannot read the state of the program";
    return denied(call, std::move(record));
  }

  // The name's way through the target's own part of /proc, which ours would be in the process that binds.
  const Located& way = place->parent.located();
  std::vector<kernel::BindRequest::Descriptor> descriptors;
  for (const auto& step : way.descriptors) descriptors.push_back({step.number, step.directory.get()});
  if (way.by_working_directory && !place->directory) place->directory.reset(call.open_link("cwd"));
  AddressCopy bound_as = address;
  if (!descriptors.empty() || way.by_working_directory) {
    name_own_process(bound_as, path, status.tgid, call.tid);
    if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  }
  const kernel::BindRequest request{.socket = socket,
                                    .address = bound_as.get(),
                                    .length = bound_as.length,
                                    .directory = place->directory.get(),
                                    .parent = place->parent.fd(),
                                    .umask = status.umask,
                                    .descriptors = descriptors};
  return session_.names_lock->in_turn(
      [&](NamesLock::Turn& turn) { return bind_judged(call, context, turn, *place, record, request); });
}

// The socket's name must be the target's own string, or getsockname(2) would tell another one; and strings can be made
// to lead elsewhere between our look and the kernel's. So the kernel's walk happens in a process whose Landlock domain
// knows the judged directory alone; and as that takes in what lies beneath, the name must be free before and stand for
// a bound socket afterwards. Nothing of the session can bring another one there meanwhile: that takes a bind, a rename
// or a link, and these wait for each other.
std::optional<Outcome> UnixSocketHandler::bind_judged(const Caller& call, CallContext& context, NamesLock::Turn& turn,
                                                      const BindPlace& place, Record record,
                                                      const kernel::BindRequest& request) {
  struct stat st {};
  if (int found = kernel_.stat_at(place.parent.fd(), place.last.c_str(), st); found != -ENOENT) {
    // What the kernel would say of a name that is taken, or of a directory that cannot be searched.
    return Outcome{.answer = Answer::errno_of(found == 0 ? EADDRINUSE : -found), .record = std::nullopt};
  }
  if (!turn.take()) return std::nullopt;
  BoundSockets::Binding binding(bound_, request.socket);
  if (!context.may_wait()) return Outcome{.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  record.done = true;
  if (int rc = call.act().bind_path(request); rc < 0) {
    return Outcome{.answer = Answer::of(rc), .record = std::move(record)};
  }

  auto now = kernel_.real_path(place.parent.fd());
  UniqueFd bound(kernel_.open_at(place.parent.fd(), place.last.c_str(), O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS));
  const bool in_place =
      bound && kernel_.stat(bound.get(), st) == 0 && S_ISSOCK(st.st_mode) && kernel_.has_bound_socket(bound.get());
  if (in_place && now && *now == place.parent.path()) {
    binding.bound_at(record.path, std::move(bound));
    return Outcome{.answer = {}, .record = std::move(record)};
  }
  // Somebody moved directories under us. The socket has a name that was not judged: see to it that nothing listens
  // there.
  binding.tampered_with();
  record.reason = "race";
  record.decision = {};
  return denied(call, std::move(record));
}

Outcome UnixSocketHandler::listen(const Caller& call, CallContext& context) {
  auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
  if (!socket) return failed(call, "listen", socket.error());
  int domain = -1;
  if (int rc = kernel_.socket_option(socket->get(), SO_DOMAIN, &domain, sizeof domain); rc < 0) {
    return {.answer = Answer::of(rc), .record = std::nullopt};
  }
  int backlog = static_cast<int>(call.arguments[1]);
  auto listen_now = [&](std::optional<Record> record) -> Outcome {
    if (!context.may_wait()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    if (record) record->done = true;
    return {.answer = Answer::of(call.act().listen(socket->get(), backlog)), .record = std::move(record)};
  };
  AddressCopy bound;
  int rc = kernel_.socket_name(socket->get(), bound.storage, bound.length);
  if (rc < 0) return {.answer = Answer::of(rc), .record = std::nullopt};
  // The kernel adds a NUL behind a path that fills the address.
  if (domain == AF_UNIX) bound.length = std::min(bound.length, socklen_t{sizeof(sockaddr_un)});
  UnixName name = domain == AF_UNIX ? decode_unix_name(bound) : UnixName{};
  // A socket without a name: the kernel's answer, without asking it, because the socket may be bound by now.
  if (domain == AF_UNIX && (name.kind == UnixName::Kind::unnamed || name.kind == UnixName::Kind::invalid)) {
    return {.answer = Answer::errno_of(EINVAL), .record = std::nullopt};
  }
  if (domain != AF_UNIX) {
    if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
    return listen_now(std::nullopt);
  }

  Record record{.operation = "listen"};
  if (name.kind == UnixName::Kind::abstract) {
    record.abstract = true;
    record.path = std::string(name.text);
    record.decision = session_.layers.judge_abstract(policy::UnixOperation::listen, name.text);
  } else if (auto known = bound_.recall(socket->get())) {
    record.path = known->path;
    if (known->path.empty()) {
      record.path = std::string(name.text);
      record.reason = known->fell_out ? "too many sockets are bound" : "race";
      return denied(call, std::move(record));
    }
    record.decision = judge(policy::UnixOperation::listen, known->path);
  } else {
    // Bound before the session, or by another one: its own word is all there is, and it must lead to a socket.
    record.path = std::string(name.text);
    UniqueFd directory;
    if (!record.path.starts_with('/')) directory.reset(call.open_link("cwd"));
    auto object = walk_.locate(call, directory.get(), record.path, LastElement::keep);
    auto named = object ? NamedObject::of(kernel_, session_.root, std::move(*object)) : fail("no such object");
    if (!named || !S_ISSOCK(named->st().st_mode)) {
      record.reason = "bound name leads to no socket";
      return denied(call, std::move(record));
    }
    record.path = named->path();
    judge(policy::UnixOperation::listen, named->fd(), record);
  }
  if (!record.abstract && is_protected(record.path)) {
    record.reason = "protected";
    return denied(call, std::move(record));
  }
  if (!call.waits()) return {.answer = Answer::errno_of(EINTR), .record = std::nullopt};
  if (auto refused = refuse(call, record, nullptr)) return std::move(*refused);
  return listen_now(std::move(record));
}

// The filter brings only AF_UNIX sockets of the datagram and raw types here. Datagrams name their receiver in every
// send, and no send is judged: so there are none, unless no layer enforces.
Outcome UnixSocketHandler::refuse_datagram(const Caller& call) {
  Record record{.operation = call.number == SYS_socket ? "socket" : "socketpair"};
  record.reason = "datagram unix sockets would need each send judged, which is not supported yet";
  if (!session_.layers.audit_only()) return denied(call, std::move(record));
  record.decision.verdict = policy::Verdict::allow;
  record.done = true;
  // Safe to run as the target wrote it: domain and type came in registers, which nobody can change any more.
  return {.answer = {.run_natively = true}, .record = std::move(record)};
}

}  // namespace wrapd::supervisor
