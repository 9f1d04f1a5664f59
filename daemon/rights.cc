// SPDX-License-Identifier: Apache-2.0
#include "daemon/rights.h"

#include <sys/socket.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // asm-generic/socket.h
#endif

namespace wrapd::daemon {

Result<> refuse_rights(int listener) {
  const int off = 0;
  if (::setsockopt(listener, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) < 0) {
    return fail_errno("cannot refuse descriptors on the control socket");
  }
  return {};
}

bool rights_refused(int socket) {
  int value = 1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &value, &size) == 0 && size == sizeof value && value == 0;
}

}  // namespace wrapd::daemon
