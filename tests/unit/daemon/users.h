// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

namespace wrapd::daemon {

#define WRAPD_NEEDS_ROOT() \
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: owners are changed"

inline constexpr uid_t kStranger = 64003;

}  // namespace wrapd::daemon
