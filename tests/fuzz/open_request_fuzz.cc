// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "wire/control.h"

// What is taken must survive being sent on: the second decoding gives the same again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::wire;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)is_finish_request(text);
  auto request = decode_open_request(text);
  if (!request) {
    if (request.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  if (request->command.size() > kMaxCommand || !request->cwd.starts_with('/')) std::abort();
  std::string again = encode(*request);
  auto second = decode_open_request(again);
  // Escaping may make a message longer than may be sent, and a command that was not escaped may be cut.
  if (!second && again.size() <= kMaxOpenRequest) std::abort();
  if (second && (second->cwd != request->cwd || second->policy != request->policy)) std::abort();
  return 0;
}
