// SPDX-License-Identifier: Apache-2.0
#pragma once

// Looking at sockets.

#include <sys/socket.h>

namespace wrapd::kernel {

class Sockets {
 public:
  virtual ~Sockets() = default;

  // True if a socket that lives is bound to exactly the socket file behind an O_PATH descriptor; false also where the
  // file's mode keeps the caller from finding out.
  [[nodiscard]] virtual bool has_bound_socket(int object);
  // True if certainly none is; false where that cannot be found out.
  [[nodiscard]] virtual bool is_abandoned_socket(int object);
  [[nodiscard]] virtual int socket_option(int socket, int option, void* value, socklen_t size);  // SOL_SOCKET
  [[nodiscard]] virtual int socket_name(int socket, sockaddr_storage& name, socklen_t& length);
  [[nodiscard]] virtual bool non_blocking(int fd);
};

}  // namespace wrapd::kernel
