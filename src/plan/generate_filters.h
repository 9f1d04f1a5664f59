// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"
#include "plan/traps.h"

namespace wrapd::plan {

// Makes the filter with libseccomp, for the native architecture. Only at build time; programs use compile_filter().
// Errors come from libseccomp only.
[[nodiscard]] Result<std::vector<sock_filter>> generate_filter(TrapSet traps);

}  // namespace wrapd::plan
