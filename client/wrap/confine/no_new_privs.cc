// SPDX-License-Identifier: Apache-2.0
#include <sys/prctl.h>

#include <cerrno>

#include "base/result.h"
#include "client/wrap/confine/steps.h"

namespace wrapd::client {

const Step kNoNewPrivs{
    .take = [](const Confined& confined, int&) noexcept -> int {
      if (confined.none()) return 0;
      return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? errno : 0;
    },
    .failure = [](int error) { return fail_errno("cannot set no_new_privs", error).error().message; },
};

}  // namespace wrapd::client
