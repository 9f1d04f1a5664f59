// SPDX-License-Identifier: Apache-2.0
#pragma once

// SO_PASSRIGHTS (Linux 6.16, socket(7)): a unix socket that has it off takes no descriptors: who sends one to it gets
// EPERM. A connection inherits it from the listening socket at connect(2), so one that was made before it was turned
// off may hold descriptors.

#include "base/result.h"

namespace wrapd::daemon {

// ENOPROTOOPT where the kernel does not have it.
[[nodiscard]] Result<> refuse_rights(int listener);
// No descriptor was, or can be, sent to this connection. False also where that cannot be told.
[[nodiscard]] bool rights_refused(int socket);

}  // namespace wrapd::daemon
