// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <functional>

namespace wrapd::supervisor {
namespace {

// The one address to which everybody may connect a netlink socket.
bool is_for_the_kernel(const AddressCopy& address) {
  sockaddr_nl name{};
  if (address.length < sizeof name || address.storage.ss_family != AF_NETLINK) return false;
  std::memcpy(&name, &address.storage, sizeof name);
  return name.nl_pid == 0 && name.nl_groups == 0;
}

}  // namespace

UnixName decode_unix_name(const AddressCopy& address) {
  if (address.length < kUnixPathOffset || address.length > sizeof(sockaddr_un)) return {};
  if (address.storage.ss_family != AF_UNIX) return {};
  if (address.length == kUnixPathOffset) return {.kind = UnixName::Kind::unnamed, .text = {}};
  const char* bytes = reinterpret_cast<const char*>(&address.storage) + kUnixPathOffset;
  size_t size = address.length - kUnixPathOffset;
  if (bytes[0] == '\0') return {.kind = UnixName::Kind::abstract, .text = {bytes + 1, size - 1}};
  return {.kind = UnixName::Kind::path, .text = {bytes, ::strnlen(bytes, size)}};
}

SocketHandler::SocketHandler(const SessionObjects& session)
    : session_(session),
      kernel_(session.kernel),
      walk_(session.kernel, session.root),
      gate_(session),
      bound_(session.kernel) {}

Outcome SocketHandler::handle(const Caller& call, CallContext& context) {
  switch (call.number) {
    case SYS_connect:
    case SYS_bind:
      return handle_socket_call(call, context);
    case SYS_listen:
      return listen(call, context);
    case SYS_socket:
    case SYS_socketpair:
      return refuse_datagram(call, context);
    default:
      return {.answer = Answer::errno_of(ENOSYS)};
  }
}

// connect(2) and bind(2): a socket and an address.
Outcome SocketHandler::handle_socket_call(const Caller& call, CallContext& context) {
  GatedCall gated(gate_, call, context);
  auto copied = call.take_socket_call();
  if (!copied) return gated.failed(copied.error());
  int domain = -1;
  if (int rc = kernel_.socket_option(copied->socket.get(), SO_DOMAIN, &domain, sizeof domain); rc < 0)
    return gated.error(-rc);  // ENOTSOCK, EBADF
  const Taken taken{call, context, gated, copied->socket.get(), copied->address, domain};
  return call.number == SYS_connect ? connect(taken) : bind(taken);
}

template <class Call>
Outcome SocketHandler::wait_through(const Taken& taken, Call call) {
  const auto begin = std::chrono::steady_clock::now();
  taken.gated.acts();
  for (;;) {
    int rc = call();
    if (rc != -EINTR) return taken.gated.answer(Answer::of(rc));
    const int error = taken.context.interrupted();
    if (error == EAGAIN) return taken.gated.refuse(kTooManyWait, EAGAIN);
    if (error != 0 && error != kRestart) return taken.gated.error(error);
    const auto limit = send_timeout(taken.socket);
    // signal(7): with a timeout, a call that was interrupted is not made anew, whatever the handler asks for.
    if (error == kRestart) return taken.gated.error(limit ? EINTR : kRestart);
    if (limit && std::chrono::steady_clock::now() - begin >= *limit) return taken.gated.error(EAGAIN);
  }
}

std::optional<std::chrono::microseconds> SocketHandler::send_timeout(int socket) {
  timeval timeout{};
  if (kernel_.socket_option(socket, SO_SNDTIMEO, &timeout, sizeof timeout) < 0) return std::nullopt;
  if (timeout.tv_sec == 0 && timeout.tv_usec == 0) return std::nullopt;
  return std::chrono::seconds(timeout.tv_sec) + std::chrono::microseconds(timeout.tv_usec);
}

Outcome SocketHandler::connect(const Taken& taken) {
  if (taken.domain != AF_UNIX) return connect_other(taken);
  const AddressCopy& address = taken.address;
  GatedCall& gated = taken.gated;
  auto connect_by_address = [&] { return taken.call.act().connect(taken.socket, address.get(), address.length); };
  const UnixName name = decode_unix_name(address);
  if (name.kind == UnixName::Kind::path) return connect_path(taken, std::string(name.text));
  if (name.kind == UnixName::Kind::abstract) {
    gated.about_abstract(name.text);
    if (auto refused = gated.judge(policy::Operation::connect)) return std::move(*refused);
    if (!taken.context.may_wait_for(std::hash<std::string_view>{}(name.text) | 1)) return gated.over();
    return wait_through(taken, connect_by_address);
  }
  // Nothing is named: the kernel refuses it, or (AF_UNSPEC on a datagram socket) ends an association.
  if (address.length >= sizeof(sa_family_t) && address.storage.ss_family == AF_UNIX) return gated.error(EINVAL);
  if (!taken.call.waits()) return gated.over();
  return gated.act(connect_by_address);
}

Outcome SocketHandler::connect_other(const Taken& taken) {
  const auto& [call, context, gated, socket, address, domain] = taken;
  if (!call.waits()) return gated.over();
  // A peer far away may take minutes. That O_NONBLOCK can be changed meanwhile costs the target its own time only.
  if (!(kernel_.non_blocking(socket) ? context.may_wait() : context.will_wait())) return gated.over();
  // Fails for a socket that has a number, and otherwise it gets one of ours by the call.
  if (domain == AF_NETLINK && is_for_the_kernel(address)) (void)bind_netlink(call, socket, nullptr);
  return wait_through(
      taken, [&] { return taken.call.act().connect(taken.socket, taken.address.get(), taken.address.length); });
}

Outcome SocketHandler::connect_to(const Taken& taken, int object, ino_t inode) {
  if (!taken.context.may_wait_for(inode | 1)) return taken.gated.over();
  return wait_through(taken, [&] { return taken.call.act().connect_object(taken.socket, object); });
}

Outcome SocketHandler::connect_path(const Taken& taken, const std::string& path) {
  const Caller& call = taken.call;
  GatedCall& gated = taken.gated;
  UniqueFd directory;
  if (!path.starts_with('/')) {
    directory.reset(call.open_link("cwd"));
    if (!directory) return gated.refuse("cannot open the target's directory");
  }
  gated.about(path);
  auto object = walk_.locate(call, directory.get(), path, LastElement::follow);
  // What is not there says so, but for what is protected.
  if (!object && is_protected(path)) return gated.refuse_protected();
  if (!object) return gated.failed(object.error());
  if (object->st.st_nlink == 0) {
    if (!S_ISSOCK(object->st.st_mode) || !kernel_.has_bound_socket(object->fd.get())) return gated.error(ECONNREFUSED);
    gated.about(kernel_.real_path(object->fd.get()).value_or(""));
    if (auto refused = gated.judge_nameless(policy::Operation::connect)) return std::move(*refused);
    return connect_to(taken, object->fd.get(), object->st.st_ino);
  }
  auto named = NamedObject::of(kernel_, session_.root, std::move(*object));
  if (!named) return gated.failed(named.error());
  gated.about(named->path());
  if (auto refused = gated.judge(policy::Operation::connect, named->fd(), &named->st())) return std::move(*refused);
  return connect_to(taken, named->fd(), named->st().st_ino);
}

Outcome SocketHandler::listen(const Caller& call, CallContext& context) {
  GatedCall gated(gate_, call, context);
  auto socket = call.take_descriptor(static_cast<int>(call.arguments[0]));
  if (!socket) return gated.failed(socket.error());
  int domain = -1;
  if (int rc = kernel_.socket_option(socket->get(), SO_DOMAIN, &domain, sizeof domain); rc < 0) return gated.error(-rc);
  AddressCopy bound;
  if (int rc = kernel_.socket_name(socket->get(), bound.storage, bound.length); rc < 0) return gated.error(-rc);
  if (domain != AF_UNIX) {
    if (!call.waits()) return gated.over();
  } else {
    // The kernel adds a NUL behind a path that fills the address.
    bound.length = std::min(bound.length, socklen_t{sizeof(sockaddr_un)});
    if (auto refused = judge_listen(call, gated, socket->get(), decode_unix_name(bound))) return std::move(*refused);
  }
  return gated.act([&] { return call.act().listen(socket->get(), static_cast<int>(call.arguments[1])); });
}

std::optional<Outcome> SocketHandler::judge_listen(const Caller& call, GatedCall& gated, int socket,
                                                   const UnixName& bound) {
  // A socket without a name: the kernel's answer, without asking it, because the socket may be bound by now.
  if (bound.kind == UnixName::Kind::unnamed || bound.kind == UnixName::Kind::invalid) return gated.error(EINVAL);
  if (bound.kind == UnixName::Kind::abstract) {
    gated.about_abstract(bound.text);
    return gated.judge(policy::Operation::listen);
  }
  gated.about(std::string(bound.text));
  if (auto known = bound_.recall(socket)) {
    if (known->path.empty()) return gated.refuse(known->fell_out ? "too many sockets are bound" : "race");
    gated.about(known->path);
    return gated.judge(policy::Operation::listen);
  }
  // Bound before the session, or by another one: its own word is all there is, and it must lead to a socket.
  UniqueFd directory;
  if (!gated.path().starts_with('/')) directory.reset(call.open_link("cwd"));
  auto object = walk_.locate(call, directory.get(), gated.path(), LastElement::keep);
  auto named = object ? NamedObject::of(kernel_, session_.root, std::move(*object)) : target_errno(ENOENT);
  if (!named || !S_ISSOCK(named->st().st_mode)) return gated.refuse("bound name leads to no socket");
  gated.about(named->path());
  return gated.judge(policy::Operation::listen, named->fd());
}

// The filter brings only AF_UNIX sockets of the datagram and raw types here. Datagrams name their receiver in every
// send, and no send is judged: so there are none, unless no layer enforces.
Outcome SocketHandler::refuse_datagram(const Caller& call, CallContext& context) {
  constexpr const char* kReason = "datagram unix sockets would need each send judged, which is not supported yet";
  GatedCall gated(gate_, call, context);
  // Safe to run as the target wrote it: domain and type came in registers, which nobody can change any more.
  return gated.refuse_or_record(kReason, {.run_natively = true});
}

}  // namespace wrapd::supervisor
