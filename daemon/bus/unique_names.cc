// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/unique_names.h"

namespace wrapd::daemon::bus {

void UniqueNames::came(std::string_view name, uint64_t now) {
  if (name.starts_with(':') && names_.size() < kMaxNames) names_.try_emplace(std::string(name), now);
}

void UniqueNames::left(std::string_view name) {
  if (auto it = names_.find(name); it != names_.end()) names_.erase(it);
}

uint64_t UniqueNames::of(std::string_view name) const {
  auto it = names_.find(name);
  return it == names_.end() ? since_ : it->second;
}

}  // namespace wrapd::daemon::bus
