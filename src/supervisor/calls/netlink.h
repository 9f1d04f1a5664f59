// SPDX-License-Identifier: Apache-2.0
#pragma once

// Netlink sockets are not judged. But one without a number gets its process's where that is free (netlink_autobind()),
// and in a call of ours that would be our own.

#include "kernel/kernel.h"
#include "supervisor/caller.h"

namespace wrapd::supervisor {

// The one address to which everybody may connect a netlink socket.
[[nodiscard]] bool is_for_the_kernel(const AddressCopy& address);

// Gives a netlink socket the number that it would get natively, as `asked` or, without it, before it is connected.
// -EADDRINUSE where the call itself has to do it.
[[nodiscard]] int bind_netlink(kernel::Objects& kernel, const Caller& call, int socket, const AddressCopy* asked);

}  // namespace wrapd::supervisor
