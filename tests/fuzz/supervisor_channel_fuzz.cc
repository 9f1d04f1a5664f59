// SPDX-License-Identifier: Apache-2.0

// Both directions of the channel between the service and a supervisor. What is taken must come back the same.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/supervisor_channel.h"

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::wire;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes seen as characters
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto report = decode_supervisor_report(text);
  if (report) {
    std::string again = encode(*report);
    auto second = decode_supervisor_report(again);
    if (!second || second->index() != report->index() || encode(*second) != again) std::abort();
  } else if (report.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  auto order = decode_service_order(text);
  if (order) {
    std::string again = encode(*order);
    auto second = decode_service_order(again);
    if (!second || second->index() != order->index() || encode(*second) != again) std::abort();
  } else if (order.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  if (report && order) std::abort();
  return 0;
}
