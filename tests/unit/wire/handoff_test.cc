// SPDX-License-Identifier: Apache-2.0
#include "wire/handoff.h"

#include <gtest/gtest.h>

namespace wrapd::wire {
namespace {

std::string good(HandoffKind kind = HandoffKind::notify) {
  auto frame = encode(HandoffFrame{.kind = kind, .token = std::string(64, 'f')});
  return {frame.begin(), frame.end()};
}

TEST(HandoffFrame, LayoutIsTheDocumentedOne) {
  std::string bytes = good(HandoffKind::signal);
  ASSERT_EQ(bytes.size(), 72U);
  EXPECT_EQ(bytes.substr(0, 8), std::string("WRPH\x01\x02\0\0", 8));
  EXPECT_EQ(bytes.substr(8), std::string(64, 'f'));
}

TEST(HandoffFrame, RoundTrip) {
  for (HandoffKind kind : {HandoffKind::notify, HandoffKind::signal, HandoffKind::ptrace}) {
    auto frame = decode_handoff_frame(good(kind));
    ASSERT_TRUE(frame) << frame.error().message;
    EXPECT_EQ(frame->kind, kind);
    EXPECT_EQ(frame->token, std::string(64, 'f'));
  }
}

TEST(HandoffFrame, EveryLengthButOneIsRefused) {
  std::string bytes = good() + std::string(8, 'f');
  for (size_t n = 0; n <= bytes.size(); ++n) {
    EXPECT_EQ(decode_handoff_frame(std::string_view(bytes).substr(0, n)).has_value(), n == kHandoffFrameSize) << n;
  }
}

TEST(HandoffFrame, EveryByteCounts) {
  for (size_t i = 0; i < kHandoffFrameSize; ++i) {
    std::string bytes = good();
    bytes[i] = 'X';
    EXPECT_FALSE(decode_handoff_frame(bytes)) << i;
  }
  std::string upper = good();
  upper[20] = 'F';
  EXPECT_FALSE(decode_handoff_frame(upper));
  for (char kind : {'\0', '\4', '\xff'}) {
    std::string bytes = good();
    bytes[5] = kind;
    EXPECT_FALSE(decode_handoff_frame(bytes));
  }
}

TEST(HandoffFrame, WrongTokenLengthNeverMakesAGoodFrame) {
  for (size_t n : {0U, 63U}) {
    auto frame = encode(HandoffFrame{.kind = HandoffKind::notify, .token = std::string(n, 'f')});
    EXPECT_FALSE(decode_handoff_frame({frame.data(), frame.size()}));
  }
}

}  // namespace
}  // namespace wrapd::wire
