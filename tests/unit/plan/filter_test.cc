// SPDX-License-Identifier: Apache-2.0

// The compiled program, run by a small evaluator of its own: for what no process here can ask the kernel (calls of
// other architectures and of x32 kernels, every number), and against instructions that the kernel's cache of allowed
// calls cannot follow. What the kernel makes of it: tests/integration/filter.

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "plan/plan.h"
#include "plan/syscalls.h"

namespace wrapd::plan {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#else
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#endif
constexpr uint32_t kEnosys = SECCOMP_RET_ERRNO | ENOSYS;

// The action, or nothing if the program leaves its bounds or uses an instruction that the kernel's cache does not know
// (seccomp_is_const_allow, kernel/seccomp.c). `steps` counts instructions.
std::optional<uint32_t> evaluate(const std::vector<sock_filter>& program, const seccomp_data& data,
                                 int* steps = nullptr) {
  uint32_t accumulator = 0;
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const sock_filter& i = program[pc];
    if (steps != nullptr) ++*steps;
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (i.k % 4 != 0 || i.k + 4 > sizeof data) return std::nullopt;
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + i.k, 4);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= i.k;
        break;
      case BPF_JMP | BPF_JA:
        pc += i.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        pc += accumulator == i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        pc += accumulator >= i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        pc += accumulator > i.k ? i.jt : i.jf;
        break;
      case BPF_RET | BPF_K:
        return i.k;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

seccomp_data call(uint32_t nr, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0) {
  seccomp_data data{};
  data.nr = static_cast<int>(nr);
  data.arch = kArch;
  data.args[0] = a0;
  data.args[1] = a1;
  data.args[2] = a2;
  return data;
}

class FilterProgramTest : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { program_ = compile_filter(traps_); }
  const TrapSet traps_ = TrapSet::numbered(GetParam());
  std::vector<sock_filter> program_;
};

INSTANTIATE_TEST_SUITE_P(Sets, FilterProgramTest, testing::Range(0U, TrapSet::kSets));

TEST_P(FilterProgramTest, ForeignArchitecturesAreUnknown) {
  for (uint32_t arch : {uint32_t{AUDIT_ARCH_I386}, uint32_t{AUDIT_ARCH_ARM}, uint32_t{AUDIT_ARCH_X86_64},
                        uint32_t{AUDIT_ARCH_AARCH64}, uint32_t{0}, ~uint32_t{0}}) {
    if (arch == kArch) continue;
    for (uint32_t nr = 0; nr < 600; ++nr) {
      seccomp_data data = call(nr);
      data.arch = arch;
      ASSERT_EQ(evaluate(program_, data), kEnosys) << arch << " " << nr;
    }
  }
}

TEST_P(FilterProgramTest, UnreviewedNumbersAreUnknown) {
  for (uint32_t nr = 0; nr < 600; ++nr) {
    const bool reviewed = nr < kHoleFrom || (nr >= kHoleEnd && nr < kUnknownFrom);
    const std::optional<uint32_t> answer = evaluate(program_, call(nr, 0x8000, 0x8000));
    ASSERT_TRUE(answer) << nr;
    if (!reviewed) {
      EXPECT_EQ(*answer, kEnosys) << nr;
    }
    EXPECT_EQ(evaluate(program_, call(nr | 0x40000000)), kEnosys) << nr;
  }
  for (uint32_t nr : {0x3fffffffU, 0x7fffffffU, 0x80000000U, 0xffffffffU})
    EXPECT_EQ(evaluate(program_, call(nr)), kEnosys) << nr;
}

TEST_P(FilterProgramTest, BringsOnlyWhatWasAskedFor) {
  std::vector<uint32_t> expected;
  if (traps_.has(TrapGroup::sockets)) expected = {__NR_connect, __NR_bind, __NR_listen};
  if (traps_.has(TrapGroup::socket_creation)) expected.insert(expected.end(), {__NR_socket, __NR_socketpair});
  if (traps_.has(TrapGroup::rename_link)) {
    expected.insert(expected.end(), {__NR_renameat, __NR_renameat2, __NR_linkat, __NR_symlinkat});
#ifdef __NR_rename
    expected.insert(expected.end(), {__NR_rename, __NR_link, __NR_symlink});
#endif
  }
  std::ranges::sort(expected);
  std::vector<uint32_t> brought;
  for (uint32_t nr = 0; nr < kUnknownFrom; ++nr) {
    if (evaluate(program_, call(nr, AF_UNIX, SOCK_DGRAM)) == SECCOMP_RET_USER_NOTIF) brought.push_back(nr);
  }
  EXPECT_EQ(brought, expected);
  const bool has_notify = std::ranges::any_of(
      program_, [](const sock_filter& i) { return i.code == (BPF_RET | BPF_K) && i.k == SECCOMP_RET_USER_NOTIF; });
  EXPECT_EQ(has_notify, !traps_.empty());
}

TEST_P(FilterProgramTest, SocketDomainsAreAllowListed) {
  for (uint64_t domain = 0; domain < 64; ++domain) {
    const bool known = domain == AF_UNIX || domain == AF_INET || domain == AF_INET6 || domain == AF_NETLINK;
    EXPECT_EQ(evaluate(program_, call(__NR_socket, domain, SOCK_STREAM)),
              known ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | EACCES)
        << domain;
    EXPECT_EQ(evaluate(program_, call(__NR_socketpair, domain, SOCK_STREAM)),
              domain == AF_UNIX ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | EACCES)
        << domain;
  }
  for (int bit = 6; bit < 32; ++bit) {
    EXPECT_EQ(evaluate(program_, call(__NR_socket, AF_UNIX | uint64_t{1} << bit, SOCK_STREAM)),
              SECCOMP_RET_ERRNO | EACCES);
  }
  for (int bit = 32; bit < 64; ++bit) {
    EXPECT_EQ(evaluate(program_, call(__NR_socket, AF_UNIX | uint64_t{1} << bit, SOCK_STREAM)), SECCOMP_RET_ALLOW);
  }
}

TEST_P(FilterProgramTest, PrioritiesOfOthersAreRefused) {
  for (uint64_t which : {uint64_t{PRIO_PGRP}, uint64_t{PRIO_USER}, uint64_t{17}})
    EXPECT_EQ(evaluate(program_, call(__NR_setpriority, which, 0)), SECCOMP_RET_ERRNO | EPERM) << which;
  EXPECT_EQ(evaluate(program_, call(__NR_setpriority, PRIO_PROCESS, 0)), SECCOMP_RET_ALLOW);
  EXPECT_EQ(evaluate(program_, call(__NR_setpriority, PRIO_PROCESS, 1)), SECCOMP_RET_ERRNO | EPERM);
}

// The kernel runs the program for every number when it is put on: its depth is part of a command's start.
TEST_P(FilterProgramTest, IsShallow) {
  int steps = 0;
  int calls = 0;
  for (uint32_t nr = 0; nr < kUnknownFrom; ++nr, ++calls) evaluate(program_, call(nr), &steps);
  EXPECT_LT(steps, 25 * calls);
  EXPECT_LT(program_.size(), 256U);
}

TEST(FilterTest, SetsMakeDifferentPrograms) {
  auto bytes = [](TrapSet traps) { return compile_filter(traps).size(); };
  EXPECT_LT(bytes({}), bytes(kUnixSocketTraps));
  EXPECT_LT(bytes(kUnixSocketTraps), bytes(TrapSet::numbered(TrapSet::kSets - 1)));
}

}  // namespace
}  // namespace wrapd::plan
