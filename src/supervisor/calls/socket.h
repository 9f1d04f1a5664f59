// SPDX-License-Identifier: Apache-2.0
#pragma once

// connect(2), bind(2), listen(2) of every socket that is not refused at birth, and the creation of AF_UNIX datagram
// sockets. Each call is done on behalf, on the target's own socket, with our copy of the address: nothing that was
// judged is looked at a second time by anybody. Sockets of other families take the same way, unjudged, because a call
// that was let through after a look at its descriptor could be another socket's by then.

#include <sys/un.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/caller.h"
#include "supervisor/calls/bound_sockets.h"
#include "supervisor/calls/names_lock.h"
#include "supervisor/handler.h"
#include "supervisor/identities.h"
#include "supervisor/named_object.h"
#include "supervisor/path_walk.h"
#include "supervisor/task.h"

namespace wrapd::supervisor {

// What an AF_UNIX address names (unix(7)).
struct UnixName {
  enum class Kind { invalid, unnamed, path, abstract };
  Kind kind = Kind::invalid;
  std::string_view text;  // path up to the first NUL, or the abstract name with all its bytes; borrows the copy
};
// `unnamed` is an address that is the family alone: autobind where it is bound, invalid where it is connected to.
[[nodiscard]] UnixName decode_unix_name(const AddressCopy& address);

// True for a path that no policy can open: the service's own places.
[[nodiscard]] bool is_protected(std::string_view path);

struct SessionObjects {
  kernel::Objects& kernel;
  const policy::Layers& layers;
  int root;  // O_PATH
  const Identities& identities;
  Approvals& approvals;
  std::shared_ptr<NamesLock> names_lock = std::make_shared<NamesLock>();
};

class UnixSocketHandler final : public Handler {
 public:
  explicit UnixSocketHandler(const SessionObjects& session);
  Outcome handle(const Caller& call, CallContext& context) override;

 private:
  Outcome connect(const Caller& call, CallContext& context);
  Outcome connect_path(const Caller& call, CallContext& context, int socket, std::string_view name);
  Outcome connect_nameless(const Caller& call, CallContext& context, int socket, const Located& object, Record record);
  Outcome connect_abstract(const Caller& call, CallContext& context, int socket, const AddressCopy& address,
                           std::string_view name);
  Outcome bind(const Caller& call, CallContext& context);
  Outcome bind_path(const Caller& call, CallContext& context, int socket, const AddressCopy& address,
                    std::string_view name);
  // Where a bind is to make its socket.
  struct BindPlace {
    UniqueFd directory;  // O_PATH: the target's working directory, where the name starts there
    NamedObject parent;
    std::string last;  // the plain element
  };
  [[nodiscard]] std::expected<BindPlace, Outcome> find_bind_place(const Caller& call, std::string path);
  // Nothing if the turn is to be taken again.
  std::optional<Outcome> bind_judged(const Caller& call, CallContext& context, NamesLock::Turn& turn,
                                     const BindPlace& place, Record record, const kernel::BindRequest& request);
  [[nodiscard]] int bind_netlink(const Caller& call, int socket, const AddressCopy* asked);
  Outcome listen(const Caller& call, CallContext& context);
  Outcome refuse_datagram(const Caller& call);

  // Waits through signals that are not meant for the target. The outcome has the record that is given, if any, unless
  // the wait was refused.
  template <class Call>
  Outcome wait_through(CallContext& context, int socket, std::optional<Record> record, Call call);
  [[nodiscard]] std::optional<std::chrono::microseconds> send_timeout(int socket);  // SO_SNDTIMEO

  [[nodiscard]] std::optional<Outcome> refuse(const Caller& call, Record& record, const struct stat* object);
  Outcome denied(const Caller& call, Record record, int error = EACCES);
  Outcome failed(const Caller& call, const char* operation, const Error& error);
  Outcome failed(const Caller& call, Record record, const Error& error);
  [[nodiscard]] policy::Decision judge(policy::UnixOperation operation, const std::string& path) const;
  // Also by what the object is; says why where no rule does. `record`: its path is judged.
  void judge(policy::UnixOperation operation, int object, Record& record) const;

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
  BoundSockets bound_;
};

}  // namespace wrapd::supervisor
