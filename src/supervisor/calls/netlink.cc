// SPDX-License-Identifier: Apache-2.0
#include "supervisor/calls/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>

namespace wrapd::supervisor {
namespace {

// `asked` is what the target asked for, where it binds.
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

bool is_for_the_kernel(const AddressCopy& address) {
  sockaddr_nl name{};
  if (address.length < sizeof name || address.storage.ss_family != AF_NETLINK) return false;
  std::memcpy(&name, &address.storage, sizeof name);
  return name.nl_pid == 0 && name.nl_groups == 0;
}

int bind_netlink(kernel::Objects& kernel, const Caller& call, int socket, const AddressCopy* asked) {
  kernel::TaskStatus status;
  auto name = call.status(status) == 0 ? netlink_name(kernel, socket, asked, status.tgid) : std::nullopt;
  if (!name || !call.waits()) return -EADDRINUSE;
  return call.act().bind(socket, reinterpret_cast<const sockaddr*>(&*name), sizeof *name);
}

}  // namespace wrapd::supervisor
