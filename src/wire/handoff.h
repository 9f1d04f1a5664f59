// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace wrapd::wire {

enum class HandoffKind : uint8_t { notify = 1, signal = 2, ptrace = 3 };

[[nodiscard]] std::string_view to_string(HandoffKind kind);

// The one message of a hand-off connection: this frame and exactly one descriptor; answered by one byte.
//   offset 0  "WRPH"   4  version (1)   5  kind   6  reserved, zero (2 bytes)   8  token, 64 hexadecimal digits
inline constexpr size_t kHandoffFrameSize = 72;
struct HandoffFrame {
  HandoffKind kind = HandoffKind::notify;
  std::string token;
};
[[nodiscard]] std::array<char, kHandoffFrameSize> encode(const HandoffFrame& frame);
[[nodiscard]] Result<HandoffFrame> decode_handoff_frame(std::string_view bytes);

// The answer. Anything but `accepted` means: nothing was taken, do not start the command.
enum class HandoffAnswer : char {
  accepted = 0x06,  // ASCII ACK
  bad_frame = 'F',
  bad_token = 'T',
  bad_descriptor = 'D',
  unsupported = 'U',  // ptrace hand-off, until there is a ptrace mode
  refused = 'R',
};
[[nodiscard]] std::string_view to_string(HandoffAnswer answer);

}  // namespace wrapd::wire
