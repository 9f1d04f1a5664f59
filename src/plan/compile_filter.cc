// SPDX-License-Identifier: Apache-2.0
#include "plan/filters.h"
#include "plan/plan.h"

namespace wrapd::plan {

static_assert(std::size(kFilters) == TrapSet::kSets);

std::vector<sock_filter> compile_filter(TrapSet traps) {
  const auto made = kFilters[traps.number()];
  return {made.begin(), made.end()};
}

}  // namespace wrapd::plan
