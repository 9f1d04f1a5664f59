// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "wire/limits.h"
#include "wire/profile_description.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::wire;
  auto profile = decode_profile_description({reinterpret_cast<const char*>(data), size});
  if (!profile) return 0;
  const std::string again = encode(*profile);
  auto second = decode_profile_description(again);
  if (!second && again.size() <= kMaxProfileDescription) std::abort();
  if (second && second->confinement != profile->confinement) std::abort();
  return 0;
}
