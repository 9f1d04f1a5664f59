// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernel/kernel.h"
#include "policy/layers.h"
#include "supervisor/approvals.h"
#include "supervisor/calls/names_lock.h"
#include "supervisor/identities.h"

namespace wrapd::supervisor {

// What the calls of a session are made of. Copies are of the same session.
struct SessionObjects {
  kernel::Objects& kernel;
  const policy::Layers& layers;
  int root;  // O_PATH
  const Identities& identities;
  Approvals& approvals;
  std::shared_ptr<NamesLock> names_lock = std::make_shared<NamesLock>();
};

}  // namespace wrapd::supervisor
