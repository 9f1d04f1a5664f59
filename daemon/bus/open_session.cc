// SPDX-License-Identifier: Apache-2.0

// org.wrapd1.Manager.OpenSession: the control socket's request, by another door. The request is held against the same
// rules by passing it through the same decoder.

#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/io.h"
#include "daemon/bus/members.h"
#include "daemon/bus/raw.h"
#include "wire/control.h"

namespace wrapd::daemon::bus::methods_of {
namespace {

struct Request {
  wire::OpenRequest open;
  UniqueFd profile;
};

Result<std::string> read_text(sd_bus_message* value) {
  const char* text = nullptr;
  if (int rc = sd_bus_message_read_basic(value, SD_BUS_TYPE_STRING, &text); rc <= 0) {
    return fail_errno("cannot read a text", rc == 0 ? ENXIO : -rc);
  }
  return std::string(text);
}

Result<bool> read_flag(sd_bus_message* value) {
  int flag = 0;
  if (int rc = sd_bus_message_read_basic(value, SD_BUS_TYPE_BOOLEAN, &flag); rc <= 0) {
    return fail_errno("cannot read a flag", rc == 0 ? ENXIO : -rc);
  }
  return flag != 0;
}

template <class To, class From>
Result<bool> keep(To& to, Result<From> from) {
  if (!from) return std::unexpected(from.error());
  to = std::move(*from);
  return true;
}

Result<bool> read_option(Request& request, std::string_view key, std::string_view type, sd_bus_message* value) {
  if (key == "command" && type == "s") return keep(request.open.command, read_text(value));
  if (key == "cwd" && type == "s") return keep(request.open.cwd, read_text(value));
  if (key == "policy" && type == "s") return keep(request.open.policy, read_text(value));
  if (key == "profile" && type == "h") return keep(request.profile, raw::read_descriptor(value));
  if (key == "trap_unix_sockets" && type == "b") return keep(request.open.trap_unix_sockets, read_flag(value));
  if (key == "trap_renames" && type == "b") return keep(request.open.trap_renames, read_flag(value));
  if (key == "events" && type == "b") return keep(request.open.events, read_flag(value));
  return fail("option " + printable(key, 64) + " is unknown or has another type than " + printable(type, 16), EINVAL);
}

Result<Request> read_options(sd_bus_message* message) {
  Request request;
  std::set<std::string, std::less<>> seen;
  auto read = raw::read_dictionary(
      message, [&](std::string_view key, std::string_view type, sd_bus_message* value) -> Result<bool> {
        if (!seen.emplace(key).second) return fail("option " + printable(key, 64) + " is there twice", EINVAL);
        return read_option(request, key, type, value);
      });
  if (!read) return std::unexpected(read.error());
  request.open.profile = request.profile.valid();
  auto open = wire::decode_open_request(wire::encode(request.open));
  if (!open) return std::unexpected(open.error());
  request.open = std::move(*open);
  return request;
}

std::vector<gid_t> all_groups(const PeerCredentials& credentials) {
  std::vector<gid_t> groups = credentials.groups;
  if (credentials.gid != static_cast<gid_t>(-1)) groups.push_back(credentials.gid);
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

// The kernel's word about who made the socket must be the bus's word about who calls: else somebody passes on a socket
// that was made by somebody else, and the session would be that somebody's.
Result<PeerCredentials> maker_of(int socket, const Sender& sender) {
  for (auto [option, wanted] : {std::pair(SO_DOMAIN, AF_UNIX), {SO_TYPE, SOCK_SEQPACKET}, {SO_ACCEPTCONN, 0}}) {
    int value = -1;
    socklen_t size = sizeof value;
    if (::getsockopt(socket, SOL_SOCKET, option, &value, &size) < 0 || value != wanted) {
      return fail("the connection is not one end of a SOCK_SEQPACKET socketpair", EINVAL);
    }
  }
  auto peer = peer_credentials(socket, true);
  if (!peer) return peer;
  if (sender.pid == 0 || peer->pid != sender.pid || peer->uid != sender.uid ||
      all_groups(*peer) != all_groups(sender.credentials())) {
    return fail("the connection was not made by the process that calls, with the ids that it had on the bus", EPERM);
  }
  return peer;
}

void answer(ServiceApi& service, Call& call, const std::string& id) {
  std::map<std::string, sdbus::Variant> properties{{"Id", sdbus::Variant(id)}};
  if (auto info = service.session(id)) properties.emplace("Policy", sdbus::Variant(printable(info->policy)));
  call.answer(sdbus::ObjectPath(session_path(id)), properties);
}

}  // namespace

void open_session(ServiceApi& service, const std::shared_ptr<Call>& call) {
  sd_bus_message* message = raw::message_of(call->arguments());
  auto socket = raw::read_descriptor(message);
  if (!socket) {
    call->refuse({"InvalidArgument", socket.error().message});
    return;
  }
  auto maker = maker_of(socket->get(), call->sender());
  if (!maker) {
    call->refuse({maker.error().code == EPERM ? "NotPermitted" : "InvalidArgument", maker.error().message});
    return;
  }
  auto request = read_options(message);
  if (!request) {
    call->refuse({"InvalidArgument", request.error().message});
    return;
  }
  service.open_session(std::move(*socket), std::move(request->open), std::move(request->profile), *maker,
                       [&service, weak = std::weak_ptr(call)](const ApiResult<std::string>& id) {
                         auto waiting = weak.lock();
                         if (!waiting) return;
                         if (!id) {
                           waiting->refuse(id.error());
                           return;
                         }
                         waiting->run([&] { answer(service, *waiting, *id); });
                       });
}

}  // namespace wrapd::daemon::bus::methods_of
