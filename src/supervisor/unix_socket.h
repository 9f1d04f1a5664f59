// SPDX-License-Identifier: Apache-2.0
#pragma once

// connect(2), bind(2), listen(2) of every socket that is not refused at birth, and the creation of AF_UNIX datagram
// sockets. Each call is done on behalf, on the target's own socket, with our copy of the address: nothing that was
// judged is looked at a second time by anybody. Sockets of other families take the same way, unjudged, because a call
// that was let through after a look at its descriptor could be another socket's by then.

#include <sys/un.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/caller.h"
#include "supervisor/handler.h"
#include "supervisor/identities.h"
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
  // Held while names of sockets are judged and made or moved: by one call of the session at a time.
  std::shared_ptr<std::mutex> names_lock = std::make_shared<std::mutex>();
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
  [[nodiscard]] int bind_netlink(const Caller& call, int socket, const AddressCopy* asked);
  Outcome listen(const Caller& call, CallContext& context);
  Outcome refuse_datagram(const Caller& call);

  // Waits through signals that are not meant for the target.
  template <class Call>
  Answer wait_through(CallContext& context, int socket, Call call);
  [[nodiscard]] std::optional<std::chrono::microseconds> send_timeout(int socket);  // SO_SNDTIMEO

  [[nodiscard]] std::optional<Outcome> refuse(const Caller& call, Record& record, const struct stat* object);
  Outcome denied(const Caller& call, Record record, int error = EACCES);
  Outcome failed(const Caller& call, const char* operation, const Error& error);
  Outcome failed(const Caller& call, Record record, const Error& error);
  [[nodiscard]] policy::Decision judge(policy::UnixOperation operation, const std::string& path) const;
  // Also by what the object is; says why where no rule does. `record`: its path is judged.
  void judge(policy::UnixOperation operation, int object, Record& record) const;

  // Where each socket that was bound by name here lives, so that listen can be judged by it. One that has been closed
  // is forgotten: its file, which is held, has no socket any more. Those that live are bounded: once one of them fell
  // out, no socket that is not known may listen. Until then such a one was inherited bound, and is judged by the name
  // it reports.
  struct Bound {
    uint64_t cookie = 0;  // SO_COOKIE; 0 stands for the ones that fell out
    std::string path;     // empty: being bound, or the bind was tampered with; nothing may listen there
    int binding = 0;      // binds on their way
    bool bound = false;
    UniqueFd file{};  // O_PATH; none if it is not known to be the socket's
  };
  // What listen needs to know of one.
  struct Known {
    bool fell_out = false;
    std::string path;
  };
  void expect_bind(int socket);
  // Ends what expect_bind() began, with the judged path, an empty one, or nothing if the socket was not bound.
  void remember(int socket, std::optional<std::string> path, UniqueFd file = {});
  [[nodiscard]] std::optional<Known> recall(int socket);
  [[nodiscard]] uint64_t cookie_of(int socket);
  [[nodiscard]] Bound* find_bound(uint64_t cookie);
  void forget_closed();

  SessionObjects session_;
  kernel::Objects& kernel_;
  PathWalk walk_;
  std::mutex bound_lock_;
  std::deque<Bound> bound_;
  size_t look_again_at_ = 16;  // entries: then the closed ones are looked for
  bool forgotten_ = false;
};

}  // namespace wrapd::supervisor
