// SPDX-License-Identifier: Apache-2.0
#include "wire/handoff.h"

#include <algorithm>

#include "wire/fields.h"

namespace wrapd::wire {
namespace {

constexpr std::string_view kMagic = "WRPH";
constexpr char kVersion = 1;
static_assert(kTokenDigits == kHandoffFrameSize - 8);

}  // namespace

std::string_view to_string(HandoffKind kind) {
  constexpr std::string_view kKinds[] = {"notify", "signal", "ptrace"};
  return kKinds[static_cast<size_t>(kind) - static_cast<size_t>(HandoffKind::notify)];
}

std::string_view to_string(HandoffAnswer answer) {
  switch (answer) {
    case HandoffAnswer::accepted:
      return "accepted";
    case HandoffAnswer::bad_frame:
      return "not a hand-off frame with exactly one descriptor";
    case HandoffAnswer::bad_token:
      return "wrong token, or used already";
    case HandoffAnswer::bad_descriptor:
      return "not the descriptor that this socket takes";
    case HandoffAnswer::unsupported:
      return "not supported";
    case HandoffAnswer::refused:
      return "refused";
  }
  return "unknown answer";
}

std::array<char, kHandoffFrameSize> encode(const HandoffFrame& frame) {
  std::array<char, kHandoffFrameSize> bytes{};
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  bytes[4] = kVersion;
  bytes[5] = static_cast<char>(frame.kind);
  // A token of another length leaves zero bytes, which no receiver takes for a token.
  std::copy_n(frame.token.begin(), std::min(frame.token.size(), kTokenDigits), bytes.begin() + 8);
  return bytes;
}

Result<HandoffFrame> decode_handoff_frame(std::string_view bytes) {
  if (bytes.size() != kHandoffFrameSize) {
    return fail("hand-off frame has " + std::to_string(bytes.size()) + " bytes instead of " +
                std::to_string(kHandoffFrameSize));
  }
  if (!bytes.starts_with(kMagic)) return fail("hand-off frame does not start with WRPH");
  if (bytes[4] != kVersion) return fail("hand-off frame is not of version 1");
  auto kind = static_cast<uint8_t>(bytes[5]);
  if (kind < static_cast<uint8_t>(HandoffKind::notify) || kind > static_cast<uint8_t>(HandoffKind::ptrace)) {
    return fail("hand-off frame is of the unknown kind " + std::to_string(kind));
  }
  if (bytes[6] != 0 || bytes[7] != 0) return fail("hand-off frame's reserved bytes are not zero");
  std::string_view token = bytes.substr(8);
  if (!is_lower_hex(token, kTokenDigits)) return fail("hand-off frame's token is not 64 hexadecimal digits");
  return HandoffFrame{.kind = static_cast<HandoffKind>(kind), .token = std::string(token)};
}

}  // namespace wrapd::wire
