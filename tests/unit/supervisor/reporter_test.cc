// SPDX-License-Identifier: Apache-2.0
#include "supervisor/session/reporter.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <variant>

#include "wire/packet.h"

namespace wrapd::supervisor {
namespace {

// What a client brings, and does not read, is bounded: however often it asks for its summary.
TEST(Reporter, OneSummaryWaitsForAClientThatDoesNotRead) {
  constexpr int kAsked = 5000;
  auto pair = wire::make_packet_pair(wire::OurEnd::does_not_wait);
  ASSERT_TRUE(pair);
  const int room = 0;  // the least that the kernel gives
  ASSERT_EQ(::setsockopt(pair->ours.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
  SessionOptions options;
  const policy::Layers layers;
  ClientChannel client(std::move(pair->ours));
  Reporter reporter(options, layers, client);
  for (int i = 0; i < kAsked; ++i) reporter.send_summary();
  ASSERT_TRUE(client.waiting());

  int told = 0;
  for (;;) {
    auto packet = wire::receive_packet(pair->theirs.get(), wire::kMaxReply, 0);
    if (!packet) break;
    auto message = wire::decode_session_message(packet->bytes);
    ASSERT_TRUE(message);
    EXPECT_TRUE(std::holds_alternative<wire::Summary>(*message));
    ++told;
    (void)client.flush();
  }
  EXPECT_FALSE(client.waiting());
  EXPECT_GE(told, 2);
  EXPECT_LT(told, 100);
  // The next one waits and is sent like the first.
  reporter.send_summary();
  EXPECT_FALSE(client.waiting());
  EXPECT_TRUE(wire::receive_packet(pair->theirs.get(), wire::kMaxReply, 0));
}

}  // namespace
}  // namespace wrapd::supervisor
