// SPDX-License-Identifier: Apache-2.0
#include "kernel/process_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/credentials.h"

namespace wrapd::kernel {
namespace {

// The clock is that of the start times, and rounding does not turn around who was first.
TEST(ProcessTable, AProcessStartsNotAfterNowAndNotBeforeThen) {
  UniqueFd proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(proc);
  for (int i = 0; i < 100; ++i) {
    const uint64_t before = ticks_since_boot();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(0);
    const uint64_t after = ticks_since_boot();
    auto process = read_process(proc.get(), child);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_TRUE(process);
    EXPECT_LE(before, process->start);
    EXPECT_LE(process->start, after);
  }
}

TEST(ProcessTable, OnlyWhoHadTheNumberThenIsOpened) {
  UniqueFd proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(proc);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (;;) ::pause();
  }
  const uint64_t start = read_process(proc.get(), child).value().start;
  auto opened = open_process(proc.get(), child, start);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(pidfd_alive(opened->get()));
  EXPECT_EQ(open_process(proc.get(), child, start - 1).error().code, EPERM);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(open_process(proc.get(), child, start).error().code, ESRCH);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(open_process(proc.get(), child, start).error().code, ESRCH);
}

}  // namespace
}  // namespace wrapd::kernel
