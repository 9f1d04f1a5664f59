// SPDX-License-Identifier: Apache-2.0
#include "daemon/supervisor_process.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wire/packet.h"
#include "wire/supervisor_channel.h"

namespace wrapd::daemon {
namespace {

// However much the machine's sockets hold: what gathers while nobody reads must not look like a flood.
TEST(SupervisorProcess, ItsReportsQueueIsMuchLessThanAFlood) {
  auto process = SupervisorProcess::spawn("/usr/bin/yes");  // any program that stays
  ASSERT_TRUE(process) << process.error().message;
  UniqueFd theirs(static_cast<int>(::syscall(SYS_pidfd_getfd, process->pidfd.get(), kSupervisorChannel, 0)));
  EXPECT_TRUE(theirs.valid()) << "cannot take its channel";
  int size = 0;
  socklen_t length = sizeof size;
  EXPECT_EQ(::getsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &size, &length), 0);
  EXPECT_EQ(size, 2 * 65536);
  const std::string report = wire::encode(wire::StateReport{});
  size_t sent = 0;
  while (wire::send_packet(theirs.get(), report, {}, true)) ++sent;
  EXPECT_GT(sent, 50U);
  EXPECT_LT(sent, wire::kMaxReportsAtOnce / 2);
  EXPECT_TRUE(kill_and_reap(process->pidfd.get()));
}

}  // namespace
}  // namespace wrapd::daemon
