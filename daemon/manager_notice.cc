// SPDX-License-Identifier: Apache-2.0
#include "daemon/manager_notice.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"
#include "wire/packet.h"

namespace wrapd::daemon {
namespace {

void notify(const std::string& state) {
  if (int rc = sd_notify(0, state.c_str()); rc < 0) {
    const Error error = fail_errno("cannot notify the service manager", -rc).error();
    std::fprintf(stderr, "wrapd: %s\n", error.message.c_str());
  }
}

// NOTIFY_SOCKET: a path, or '@' and an abstract name.
Result<socklen_t> manager_address(std::string_view name, sockaddr_un& address) {
  address.sun_family = AF_UNIX;
  if (name.size() < 2 || name.size() >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@')) {
    return fail("cannot use NOTIFY_SOCKET", EINVAL);
  }
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
}

}  // namespace

Result<> tell_manager(std::string_view message, std::span<const int> fds) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return {};
  sockaddr_un address{};
  auto length = manager_address(name, address);
  if (!length) return std::unexpected(length.error());
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), *length) < 0) {
    return fail_errno("cannot reach the service manager");
  }
  auto sent = wire::send_packet(socket.get(), message, fds, true);
  if (!sent && sent.error().code == EAGAIN) return fail("the service manager does not keep up", EAGAIN);
  return sent;
}

void notify_ready(const std::string& status) {
  notify("READY=1\nSTATUS=" + status);
}

// The time is what Type=notify-reload (systemd 253) tells this reload from an earlier one by.
void notify_reloading(const std::string& status) {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t microseconds =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
  notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds) + "\nSTATUS=" + status);
}

void notify_stopping(const std::string& status) {
  notify("STOPPING=1\nSTATUS=" + status);
}

}  // namespace wrapd::daemon
