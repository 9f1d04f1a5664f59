// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/appearances.h"

namespace wrapd::daemon::bus {

void Appearances::came(std::string_view name, uint64_t now) {
  if (name.starts_with(':') && names_.size() < kMaxNames) names_.try_emplace(std::string(name), now);
}

void Appearances::left(std::string_view name) {
  if (auto it = names_.find(name); it != names_.end()) names_.erase(it);
}

uint64_t Appearances::of(std::string_view name) const {
  auto it = names_.find(name);
  return it == names_.end() ? since_ : it->second;
}

}  // namespace wrapd::daemon::bus
