// SPDX-License-Identifier: Apache-2.0

// The part of SocketHandler that binds.

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>

#include "kernel/uapi.h"
#include "supervisor/calls/socket.h"

namespace wrapd::supervisor {
namespace {

// An autobound socket's name is five hexadecimal digits of the kernel's choice (unix(7)).
constexpr std::string_view kAutobindName = "?????";

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
  address.length = static_cast<socklen_t>(kUnixPathOffset + path.size());
}

// A netlink socket without a number gets its process's where that is free (netlink_autobind()); in a call of ours that
// would be our own. `asked` is what the target asked for, where it binds.
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

}  // namespace

int SocketHandler::bind_netlink(const Caller& call, int socket, const AddressCopy* asked) {
  kernel::TaskStatus status;
  auto name = call.status(status) == 0 ? netlink_name(kernel_, socket, asked, status.tgid) : std::nullopt;
  if (!name || !call.waits()) return -EADDRINUSE;
  return call.act().bind(socket, reinterpret_cast<const sockaddr*>(&*name), sizeof *name);
}

Outcome SocketHandler::bind(const Taken& taken) {
  const auto& [call, context, gated, socket, address, domain] = taken;
  const UnixName name = domain == AF_UNIX ? decode_unix_name(address) : UnixName{};
  if (name.kind == UnixName::Kind::path) return bind_path(taken, std::string(name.text));
  if (name.kind != UnixName::Kind::invalid) {
    gated.about_abstract(name.kind == UnixName::Kind::unnamed ? kAutobindName : name.text);
    if (auto refused = gated.judge(policy::Operation::bind)) return std::move(*refused);
  } else {
    // Another family, or an address that the kernel refuses.
    if (!call.waits()) return gated.over();
    if (domain == AF_UNIX) return gated.error(EINVAL);
  }
  return gated.act([&] {
    if (taken.domain == AF_NETLINK) {
      const int rc = bind_netlink(taken.call, taken.socket, &taken.address);
      if (rc != -EADDRINUSE) return rc;
    }
    return taken.call.act().bind(taken.socket, taken.address.get(), taken.address.length);
  });
}

// The directory in which a socket is to be made, and the outcome where that is clear without it.
std::expected<SocketHandler::BindPlace, Outcome> SocketHandler::find_bind_place(const Taken& taken, std::string path) {
  GatedCall& gated = taken.gated;
  UniqueFd directory;
  if (!path.starts_with('/')) {
    directory.reset(taken.call.open_link("cwd"));
    if (!directory) return std::unexpected(gated.refuse("cannot open the target's directory"));
  }
  const size_t slash = path.find_last_of('/');
  std::string last = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string parent_name = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (last.empty() || last == "." || last == "..") {
    // filename_create() takes a plain last element only, and finds a link by itself behind a slash, too.
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    auto existing = walk_.locate(taken.call, directory.get(), path, LastElement::keep);
    return std::unexpected(existing ? gated.error(EADDRINUSE) : gated.failed(existing.error()));
  }
  gated.about(path);
  auto parent = walk_.locate(taken.call, directory.get(), parent_name, LastElement::follow);
  if (!parent && is_protected(path)) return std::unexpected(gated.refuse_protected());
  if (!parent) return std::unexpected(gated.failed(parent.error()));
  if (!S_ISDIR(parent->st.st_mode)) return std::unexpected(gated.error(ENOTDIR));
  auto named = NamedObject::of(kernel_, session_.root, std::move(*parent));
  if (!named) return std::unexpected(gated.failed(named.error()));
  return BindPlace{.directory = std::move(directory), .parent = std::move(*named), .last = std::move(last)};
}

Outcome SocketHandler::bind_path(const Taken& taken, const std::string& path) {
  const Caller& call = taken.call;
  auto place = find_bind_place(taken, path);
  if (!place) return std::move(place.error());
  taken.gated.about(place->parent.beneath(place->last));
  kernel::TaskStatus status;
  const bool known = call.status(status) == 0;
  if (auto refused = taken.gated.judge(policy::Operation::bind)) return std::move(*refused);
  if (!known) return taken.gated.refuse("cannot read the state of the program");

  // The name's way through the target's own part of /proc, which ours would be in the process that binds.
  const Located& way = place->parent.located();
  std::vector<kernel::BindRequest::Descriptor> descriptors;
  for (const auto& step : way.descriptors) descriptors.push_back({step.number, step.directory.get()});
  if (way.by_working_directory && !place->directory) place->directory.reset(call.open_link("cwd"));
  AddressCopy bound_as = taken.address;
  if (!descriptors.empty() || way.by_working_directory) {
    name_own_process(bound_as, path, status.tgid, call.tid);
    if (!call.waits()) return taken.gated.over();
  }
  const kernel::BindRequest request{.socket = taken.socket,
                                    .address = bound_as.get(),
                                    .length = bound_as.length,
                                    .directory = place->directory.get(),
                                    .parent = place->parent.fd(),
                                    .umask = status.umask,
                                    .descriptors = descriptors};
  return session_.names_lock->in_turn([&](NamesLock::Turn& turn) { return bind_judged(taken, turn, *place, request); });
}

// The socket's name must be the target's own string, or getsockname(2) would tell another one; and strings can be made
// to lead elsewhere between our look and the kernel's. So the kernel's walk happens in a process whose Landlock domain
// knows the judged directory alone; and as that takes in what lies beneath, the name must be free before and stand for
// a bound socket afterwards. Nothing of the session can bring another one there meanwhile: that takes a bind, a rename
// or a link, and these wait for each other.
std::optional<Outcome> SocketHandler::bind_judged(const Taken& taken, NamesLock::Turn& turn, const BindPlace& place,
                                                  const kernel::BindRequest& request) {
  struct stat st {};
  // What the kernel would say of a name that is taken, or of a directory that cannot be searched.
  if (int found = kernel_.stat_at(place.parent.fd(), place.last.c_str(), st); found != -ENOENT)
    return taken.gated.error(found == 0 ? EADDRINUSE : -found);
  if (!turn.take()) return std::nullopt;
  BoundSockets::Binding binding(bound_, request.socket);
  if (!taken.context.may_wait()) return taken.gated.over();
  taken.gated.acts();
  if (int rc = taken.call.act().bind_path(request); rc < 0) return taken.gated.error(-rc);

  auto now = kernel_.real_path(place.parent.fd());
  UniqueFd bound(kernel_.open_at(place.parent.fd(), place.last.c_str(), O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS));
  const bool in_place =
      bound && kernel_.stat(bound.get(), st) == 0 && S_ISSOCK(st.st_mode) && kernel_.has_bound_socket(bound.get());
  if (in_place && now && *now == place.parent.path()) {
    binding.bound_at(taken.gated.path(), std::move(bound));
    return taken.gated.answer({});
  }
  // Somebody moved directories under us. The socket has a name that was not judged: see to it that nothing listens
  // there.
  binding.tampered_with();
  return taken.gated.refuse("race");
}

}  // namespace wrapd::supervisor
