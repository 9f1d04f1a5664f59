// SPDX-License-Identifier: Apache-2.0
#pragma once

// Operations::bind_path(): the process that binds.

#include "kernel/operations.h"

namespace wrapd::kernel {

[[nodiscard]] int bind_in_own_process(const BindRequest& request);

}  // namespace wrapd::kernel
