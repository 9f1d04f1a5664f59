// SPDX-License-Identifier: Apache-2.0
#include "kernel/sockets.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "kernel/system_call.h"

namespace wrapd::kernel {
namespace {

// Connecting with the wrong type tells a bound socket (EPROTOTYPE) from a file that only looks like one (ECONNREFUSED),
// and disturbs neither. A bound datagram socket, which is the right type, is found as well. What is not permitted is
// refused before the kernel looks for a socket.
int probe_socket(int object) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe ? connect_to_object(probe.get(), object) : -errno;
}

}  // namespace

bool Sockets::has_bound_socket(int object) {
  int rc = probe_socket(object);
  return rc == 0 || rc == -EPROTOTYPE;
}

bool Sockets::is_abandoned_socket(int object) {
  struct stat st {};
  return ::fstat(object, &st) == 0 && S_ISSOCK(st.st_mode) && probe_socket(object) == -ECONNREFUSED;
}

int Sockets::socket_option(int socket, int option, void* value, socklen_t size) {
  return result(::getsockopt(socket, SOL_SOCKET, option, value, &size));
}

int Sockets::socket_name(int socket, sockaddr_storage& name, socklen_t& length) {
  length = sizeof name;
  return result(::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &length));
}

bool Sockets::non_blocking(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

}  // namespace wrapd::kernel
