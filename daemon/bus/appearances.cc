// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/appearances.h"

#include <time.h>
#include <unistd.h>

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

uint64_t Appearances::now() {
  constexpr uint64_t kNanoseconds = 1'000'000'000;
  static const uint64_t kTick = kNanoseconds / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  struct timespec time {};
  // Cannot fail: every kernel has the clock.
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return (static_cast<uint64_t>(time.tv_sec) * kNanoseconds + static_cast<uint64_t>(time.tv_nsec)) / kTick;
}

}  // namespace wrapd::daemon::bus
