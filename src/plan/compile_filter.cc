// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "plan/filters.h"
#include "plan/plan.h"

namespace wrapd::plan {

// A kind of call that is added to FilterSpec has to be added to what generate_filters.cc makes.
static_assert(sizeof(FilterSpec) == 2 && std::size(kFilters) == 4);

Result<std::vector<sock_filter>> compile_filter(const FilterSpec& spec) {
  const auto* made = std::ranges::find(kFilters, spec, &MadeFilter::spec);
  if (made == std::end(kFilters)) return fail("seccomp filter: none was made for these calls");
  return std::vector<sock_filter>(made->program.begin(), made->program.end());
}

}  // namespace wrapd::plan
