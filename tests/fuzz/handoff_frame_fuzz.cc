// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <string_view>

#include "wire/handoff.h"

// There is one way to write a frame: whatever is taken, encoding gives the same bytes again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto frame = wrapd::wire::decode_handoff_frame(bytes);
  if (!frame) return 0;
  auto again = wrapd::wire::encode(*frame);
  if (std::string_view(again.data(), again.size()) != bytes) std::abort();
  return 0;
}
