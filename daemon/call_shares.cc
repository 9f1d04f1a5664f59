// SPDX-License-Identifier: Apache-2.0
#include "daemon/call_shares.h"

#include <algorithm>

namespace wrapd::daemon {

size_t CallShares::next(const Quota& given, uint64_t user) {
  const auto part = [](size_t used, size_t bound) { return (bound - std::min(used, bound)) / (bound / kMost); };
  size_t share = part(given.of(user), kPerUser);
  if (user != 0) share = std::min(share, part(given.total_but_root(), kInAll));
  return std::max(share, kFew);
}

}  // namespace wrapd::daemon
