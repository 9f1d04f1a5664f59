// SPDX-License-Identifier: Apache-2.0

// org.wrapd1.Manager.OpenSession: the control socket's request, by another door. The request is held against the same
// rules by passing it through the same decoder. The connection is made here and given out: the bus brings no
// descriptors in, because the receiver of one has to close it (daemon/broker.h).

#include <fcntl.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/sd_bus.h"
#include "daemon/caller.h"
#include "wire/control.h"

namespace wrapd::daemon::bus::methods_of {
namespace {

Result<bool> read_option(wire::OpenRequest& request, std::string_view key, std::string_view type,
                         sd_bus_message* value) {
  Result<bool> read = false;
  if (key == "command") read = sd::read_value(value, type, request.command);
  if (key == "cwd") read = sd::read_value(value, type, request.cwd);
  if (key == "policy") read = sd::read_value(value, type, request.policy);
  if (key == "profile") read = sd::read_value(value, type, request.profile);
  std::vector<std::string> traps;
  if (key == "traps") read = sd::read_value(value, type, traps);
  for (const std::string& trap : traps) {
    if (!request.traps.add(trap)) return fail("trap " + printable(trap, 64) + " is unknown or there twice", EINVAL);
  }
  if (key == "events") read = sd::read_value(value, type, request.events);
  if (read && !*read) {
    return fail("option " + printable(key, 64) + " is unknown or has another type than " + printable(type, 16), EINVAL);
  }
  return read;
}

Result<wire::OpenRequest> read_options(sd_bus_message* message) {
  wire::OpenRequest request;
  std::set<std::string, std::less<>> seen;
  auto read = sd::read_dictionary(
      message, [&](std::string_view key, std::string_view type, sd_bus_message* value) -> Result<bool> {
        if (!seen.emplace(key).second) return fail("option " + printable(key, 64) + " is there twice", EINVAL);
        return read_option(request, key, type, value);
      });
  if (!read) return std::unexpected(read.error());
  return wire::decode_open_request(wire::encode(request));
}

struct Caller {
  PeerCredentials credentials;
  UniqueFd pidfd;
};
// The sender has a pidfd: confined callers, and those that cannot be looked at, were refused before. The bus says who
// connected, but not which of the groups is the primary one: the process says that.
Result<Caller> caller_of(const Sender& sender) {
  Caller caller{.credentials = sender.credentials(),
                .pidfd = UniqueFd(::fcntl(sender.pidfd.get(), F_DUPFD_CLOEXEC, 3))};
  if (!caller.pidfd) return fail_errno("cannot keep the caller's pidfd");
  auto gid = effective_group(caller.credentials, caller.pidfd.get());
  if (!gid) return std::unexpected(gid.error());
  caller.credentials.gid = *gid;
  return caller;
}

void answer(ServiceApi& service, Call& call, OpenedSession opened) {
  std::map<std::string, sdbus::Variant> properties{{"Id", sdbus::Variant(opened.id)}};
  if (auto info = service.session(opened.id)) properties.emplace("Policy", sdbus::Variant(printable(info->policy)));
  const sdbus::UnixFd connection(opened.connection.release(), sdbus::adopt_fd);  // a duplicate would not be CLOEXEC
  call.answer(sdbus::ObjectPath(session_path(opened.id)), connection, properties);
}

}  // namespace

void open_session(ServiceApi& service, const std::shared_ptr<Call>& call) {
  auto request = read_options(sd::message_of(call->arguments()));
  if (!request) {
    call->refuse({"InvalidArgument", request.error().message});
    return;
  }
  auto caller = caller_of(call->sender());
  if (!caller) {
    call->refuse({"Confined", caller.error().message});
    return;
  }
  service.open_session(*request, caller->credentials, std::move(caller->pidfd),
                       [&service, weak = std::weak_ptr(call)](ApiResult<OpenedSession> opened) {
                         // Where the caller has gone its end is closed here, and the session ends.
                         auto waiting = weak.lock();
                         if (!waiting) return;
                         if (!opened) {
                           waiting->refuse(opened.error());
                           return;
                         }
                         waiting->run([&] { answer(service, *waiting, std::move(*opened)); });
                       });
}

}  // namespace wrapd::daemon::bus::methods_of
