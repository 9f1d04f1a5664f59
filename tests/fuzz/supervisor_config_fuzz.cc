// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "wire/supervisor_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::wire;
  auto config = decode_supervisor_config({reinterpret_cast<const char*>(data), size});
  if (!config) return 0;
  constexpr auto kNobody = static_cast<uid_t>(-1);
  if (config->uid == kNobody || config->gid == kNobody || config->own_uid == kNobody || config->own_gid == kNobody) {
    std::abort();
  }
  for (gid_t group : config->groups) {
    if (group == kNobody) std::abort();
  }
  std::string again = encode(*config);
  auto second = decode_supervisor_config(again);
  if (!second && again.size() <= kMaxSupervisorConfig) std::abort();
  if (second && (second->uid != config->uid || second->groups != config->groups)) std::abort();
  return 0;
}
