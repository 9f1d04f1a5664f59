// SPDX-License-Identifier: Apache-2.0
#pragma once

// connect(2), bind(2), listen(2) of every socket that is not refused at birth, and the creation of AF_UNIX datagram
// sockets. Each call is done on behalf, on the target's own socket, with our copy of the address: nothing that was
// judged is looked at a second time by anybody. Sockets of other families take the same way, unjudged, because a call
// that was let through after a look at its descriptor could be another socket's by then.

#include <sys/un.h>

#include <chrono>
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "supervisor/caller.h"
#include "supervisor/calls/bound_sockets.h"
#include "supervisor/gate.h"
#include "supervisor/handler.h"
#include "supervisor/named_object.h"
#include "supervisor/path_walk.h"
#include "supervisor/task.h"

namespace wrapd::supervisor {

inline constexpr size_t kUnixPathOffset = offsetof(sockaddr_un, sun_path);

// What an AF_UNIX address names (unix(7)).
struct UnixName {
  enum class Kind { invalid, unnamed, path, abstract };
  Kind kind = Kind::invalid;
  std::string_view text;  // path up to the first NUL, or the abstract name with all its bytes; borrows the copy
};
// `unnamed` is an address that is the family alone: autobind where it is bound, invalid where it is connected to.
[[nodiscard]] UnixName decode_unix_name(const AddressCopy& address);

class SocketHandler final : public Handler {
 public:
  explicit SocketHandler(const SessionObjects& session);
  Outcome handle(const Caller& call, CallContext& context) override;

 private:
  // What the calls of connect, bind and listen have in hand.
  struct Taken {
    const Caller& call;
    CallContext& context;
    GatedCall& gated;
    int socket;
    const AddressCopy& address;
    int domain;
  };
  Outcome handle_socket_call(const Caller& call, CallContext& context);
  Outcome connect(const Taken& taken);
  Outcome connect_path(const Taken& taken, const std::string& path);
  Outcome connect_to(const Taken& taken, int object, ino_t inode);
  Outcome connect_other(const Taken& taken);

  // bind.cc
  // Gives a netlink socket the number that it would get natively, as `asked` or, without it, before it is connected.
  // -EADDRINUSE where the call itself has to do it.
  [[nodiscard]] int bind_netlink(const Caller& call, int socket, const AddressCopy* asked);
  Outcome bind(const Taken& taken);
  Outcome bind_path(const Taken& taken, const std::string& path);
  // Where a bind is to make its socket.
  struct BindPlace {
    UniqueFd directory;  // O_PATH: the target's working directory, where the name starts there
    NamedObject parent;
    std::string last;  // the plain element
  };
  [[nodiscard]] std::expected<BindPlace, Outcome> find_bind_place(const Taken& taken, std::string path);
  // Nothing if the turn is to be taken again.
  std::optional<Outcome> bind_judged(const Taken& taken, NamesLock::Turn& turn, const BindPlace& place,
                                     const kernel::BindRequest& request);

  Outcome listen(const Caller& call, CallContext& context);
  // Nothing if the socket may listen.
  [[nodiscard]] std::optional<Outcome> judge_listen(const Caller& call, GatedCall& gated, int socket,
                                                    const UnixName& bound);
  Outcome refuse_datagram(const Caller& call, CallContext& context);

  // Waits through signals that are not meant for the target.
  template <class Call>
  Outcome wait_through(const Taken& taken, Call call);
  [[nodiscard]] std::optional<std::chrono::microseconds> send_timeout(int socket);  // SO_SNDTIMEO

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
  Gate gate_;
  BoundSockets bound_;
};

}  // namespace wrapd::supervisor
