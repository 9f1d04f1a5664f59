// SPDX-License-Identifier: Apache-2.0

// The seccomp program of a wrapped command, in two parts that are one array for the kernel.
//
// The first part is ours, instruction by instruction: the architecture, the numbers nobody has reviewed, and the calls
// that are allowed for a few values of a 32-bit argument only. The kernel reads such an argument from the low half of a
// register whose high half may hold anything, and "the low half is none of these" is what libseccomp cannot say. Each
// of these calls is decided here completely, so the accumulator holds the call's number again wherever the next one is
// compared.
//
// The second part is libseccomp's: plain refusals and refusals of single values, searched as a binary tree. The kernel
// runs the program once per system call number when it is installed, to learn which calls are always allowed (those
// never run it again), so its depth is part of every command's start.

#include <asm/ioctls.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/io.h"
#include "base/unique_fd.h"
#include "plan/generate_filters.h"
#include "plan/syscalls.h"
#include "plan/traps.h"

namespace wrapd::plan {
namespace {

static_assert(std::endian::native == std::endian::little, "offsets of an argument's halves");

#if defined(__x86_64__)
constexpr uint32_t kNativeArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
#endif

constexpr uint32_t kLow32 = 0xffffffff;
constexpr uint32_t kSocketTypeMask = 0xf;         // SOCK_TYPE_MASK, linux/net.h
constexpr uint32_t kSocketTypePacket = 10;        // SOCK_PACKET: AF_INET with it means AF_PACKET
constexpr uint32_t kNetlinkRoute = 0;             // NETLINK_ROUTE
constexpr uint32_t kIoctlTypeMask = 0xff00;       // _IOC_TYPE
constexpr uint32_t kSeccompIoctlType = '!' << 8;  // SECCOMP_IOC_MAGIC

constexpr uint32_t low(size_t argument) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * argument);
}
constexpr uint32_t high(size_t argument) {
  return low(argument) + 4;
}

// Forward jumps by name; offsets are filled in at the end.
class Assembler {
 public:
  using Label = uint8_t;
  static constexpr Label kNext = 0;  // the instruction that follows

  Label label() { return ++labels_; }
  void place(Label label) { places_[label] = code_.size(); }
  void load(uint32_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, offset); }
  void mask(uint32_t bits) { emit(BPF_ALU | BPF_AND | BPF_K, bits); }
  void answer(uint32_t action) { emit(BPF_RET | BPF_K, action); }
  void jump(Label to) {
    fixups_.push_back({code_.size(), to, to, true});
    emit(BPF_JMP | BPF_JA, 0);
  }
  void if_equal(uint32_t value, Label yes, Label no = kNext) { branch(BPF_JEQ, value, yes, no); }
  void if_at_least(uint32_t value, Label yes, Label no = kNext) { branch(BPF_JGE, value, yes, no); }

  // False if a conditional jump is too far for its eight bits.
  [[nodiscard]] bool resolve() {
    for (const Fixup& fixup : fixups_) {
      sock_filter& instruction = code_[fixup.at];
      size_t yes = distance(fixup.at, fixup.yes);
      size_t no = distance(fixup.at, fixup.no);
      if (fixup.unconditional) {
        instruction.k = static_cast<uint32_t>(yes);
      } else {
        if (yes > UINT8_MAX || no > UINT8_MAX) return false;
        instruction.jt = static_cast<uint8_t>(yes);
        instruction.jf = static_cast<uint8_t>(no);
      }
    }
    return true;
  }
  [[nodiscard]] std::vector<sock_filter> take() { return std::move(code_); }

 private:
  struct Fixup {
    size_t at;
    Label yes;
    Label no;
    bool unconditional;
  };
  void emit(int code, uint32_t k) { code_.push_back({static_cast<uint16_t>(code), 0, 0, k}); }
  void branch(int op, uint32_t value, Label yes, Label no) {
    fixups_.push_back({code_.size(), yes, no, false});
    emit(BPF_JMP | op | BPF_K, value);
  }
  [[nodiscard]] size_t distance(size_t from, Label to) const { return to == kNext ? 0 : places_[to] - from - 1; }

  std::vector<sock_filter> code_;
  std::vector<Fixup> fixups_;
  std::array<size_t, 64> places_{};
  Label labels_ = 0;
};

// Calls whose first argument is a process, and 0 means the caller.
constexpr uint32_t kOwnProcessOnly[] = {__NR_sched_setaffinity, __NR_sched_setscheduler, __NR_sched_setparam,
                                        __NR_sched_setattr,     __NR_migrate_pages,      __NR_move_pages,
                                        __NR_get_robust_list};

struct Case {
  uint32_t nr;
  Assembler::Label label;
};

// Binary search for the number in the accumulator; `cases` are sorted.
void dispatch(Assembler& a, std::span<const Case> cases, Assembler::Label none) {
  if (cases.size() <= 2) {
    for (const Case& c : cases) a.if_equal(c.nr, c.label);
    a.jump(none);
    return;
  }
  const size_t middle = cases.size() / 2;
  const Assembler::Label upper = a.label();
  a.if_at_least(cases[middle].nr, upper);
  dispatch(a, cases.first(middle), none);
  a.place(upper);
  dispatch(a, cases.subspan(middle), none);
}

Result<std::vector<sock_filter>> own_part(TrapSet traps) {
  using Label = Assembler::Label;
  Assembler a;
  const Label allow = a.label(), enosys = a.label(), eperm = a.label(), eacces = a.label(), notify = a.label();
  const Label no_protocol = a.label();
  const Label rest = a.label();
  const Label own_number = a.label(), own_process = a.label();

  a.load(offsetof(seccomp_data, arch));
  a.if_equal(kNativeArch, Assembler::kNext, enosys);
  a.load(offsetof(seccomp_data, nr));
  a.if_at_least(kUnknownFrom, enosys);  // x32 calls as well: their bit is above all numbers
  const Label reviewed = a.label();
  a.if_at_least(kHoleEnd, reviewed);
  a.if_at_least(kHoleFrom, enosys);
  a.place(reviewed);

  const Label socket = a.label(), socketpair = a.label(), prlimit = a.label(), priority = a.label(), ioprio = a.label();
  std::vector<Case> cases = {{__NR_socket, socket},
                             {__NR_socketpair, socketpair},
                             {__NR_prlimit64, prlimit},
                             {__NR_setpriority, priority},
                             {__NR_ioprio_set, ioprio}};
  for (uint32_t nr : kOwnProcessOnly) cases.push_back({nr, own_process});
  std::ranges::sort(cases, {}, &Case::nr);
  dispatch(a, cases, rest);

  // socket(domain, type, protocol), socketpair(domain, type, protocol, ...)
  const Label unix_domain = a.label(), inet = a.label(), netlink = a.label();
  a.place(socket);
  a.load(low(0));
  a.if_equal(AF_UNIX, unix_domain);
  a.if_equal(AF_INET, inet);
  a.if_equal(AF_INET6, allow);
  a.if_equal(AF_NETLINK, netlink, eacces);
  a.place(inet);
  a.load(low(1));
  a.mask(kSocketTypeMask);
  a.if_equal(kSocketTypePacket, eacces, allow);
  a.place(netlink);
  a.load(low(2));
  a.if_equal(kNetlinkRoute, allow, no_protocol);
  a.place(socketpair);
  a.load(low(0));
  a.if_equal(AF_UNIX, unix_domain, eacces);
  a.place(unix_domain);
  if (traps.has(TrapGroup::socket_creation)) {
    a.load(low(1));
    a.mask(kSocketTypeMask);
    a.if_equal(SOCK_STREAM, allow);
    a.if_equal(SOCK_SEQPACKET, allow, notify);
  } else {
    a.jump(allow);
  }

  // prlimit64(pid, resource, new_limit, old_limit): reading is open for every process.
  a.place(prlimit);
  a.load(low(2));
  const Label writes = a.label();
  a.if_equal(0, Assembler::kNext, writes);
  a.load(high(2));
  a.if_equal(0, allow, writes);
  a.place(writes);
  a.jump(own_process);

  // setpriority(which, who, prio), ioprio_set(which, who, ioprio)
  a.place(priority);
  a.load(low(0));
  a.if_equal(PRIO_PROCESS, own_number, eperm);
  a.place(ioprio);
  a.load(low(0));
  a.if_equal(kIoPriorityProcess, own_number, eperm);
  a.place(own_number);
  a.load(low(1));
  a.if_equal(0, allow, eperm);

  a.place(own_process);
  a.load(low(0));
  a.if_equal(0, allow, eperm);

  a.place(allow);
  a.answer(SECCOMP_RET_ALLOW);
  a.place(enosys);
  a.answer(SECCOMP_RET_ERRNO | ENOSYS);
  a.place(eperm);
  a.answer(SECCOMP_RET_ERRNO | EPERM);
  a.place(eacces);
  a.answer(SECCOMP_RET_ERRNO | EACCES);
  a.place(no_protocol);
  a.answer(SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
  if (traps.has(TrapGroup::socket_creation)) {
    a.place(notify);
    a.answer(SECCOMP_RET_USER_NOTIF);
  }
  a.place(rest);
  if (!a.resolve()) return fail("seccomp filter: a jump of the first part is too far");
  return a.take();
}

struct ReleaseContext {
  void operator()(void* context) const { seccomp_release(context); }
};

// libseccomp's part: collects the first error, so that the list of rules reads as a list.
class Rules {
 public:
  Rules() {
    // Set, not detected: libseccomp would try seccomp(2), which our own caller's filter may answer with a signal.
    static const int level = seccomp_api_set(6);
    note(level, "seccomp_api_set");
    context_.reset(seccomp_init(SCMP_ACT_ALLOW));
    if (!context_) {
      note(-ENOMEM, "seccomp_init");
      return;
    }
    note(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "ACT_BADARCH");
    note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_NNP, 0), "CTL_NNP");
    note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "CTL_OPTIMIZE");
  }

  void add(uint32_t action, int nr, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    if (code_ != 0) return;
    note(seccomp_rule_add_array(context_.get(), action, nr, static_cast<unsigned>(arguments.size()), arguments.begin()),
         "rule for system call " + std::to_string(nr));
  }

  [[nodiscard]] Result<std::vector<sock_filter>> compile() {
    UniqueFd file(memfd_create("filter", MFD_CLOEXEC));
    if (!file) return fail_errno("seccomp filter: memfd_create");
    if (code_ == 0) note(seccomp_export_bpf(context_.get(), file.get()), "seccomp_export_bpf");
    if (code_ != 0) return fail_errno("seccomp filter: libseccomp: " + what_, -code_);
    if (lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("seccomp filter: lseek");
    Result<std::string> bytes = read_all(file.get(), BPF_MAXINSNS * sizeof(sock_filter));
    if (!bytes) return std::unexpected(bytes.error());
    std::vector<sock_filter> program(bytes->size() / sizeof(sock_filter));
    std::memcpy(program.data(), bytes->data(), program.size() * sizeof(sock_filter));
    return program;
  }

 private:
  void note(int code, const std::string& what) {
    if (code_ != 0 || code == 0) return;
    code_ = code;
    what_ = what;
  }

  std::unique_ptr<void, ReleaseContext> context_;
  int code_ = 0;  // negative errno of the first call that failed
  std::string what_;
};

scmp_arg_cmp equals(unsigned argument, uint32_t mask, uint32_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

Result<std::vector<sock_filter>> library_part(TrapSet traps) {
  Rules rules;
  for (const Refusal& refusal : kRefusals) rules.add(SCMP_ACT_ERRNO(static_cast<uint32_t>(refusal.error)), refusal.nr);

  const uint32_t eperm = SCMP_ACT_ERRNO(EPERM);
  for (uint32_t flag : {uint32_t{CLONE_NEWUSER}, uint32_t{CLONE_NEWNS}}) {
    // The flags come first on both architectures (CONFIG_CLONE_BACKWARDS moves later arguments only).
    rules.add(eperm, __NR_clone, {equals(0, flag, flag)});
    rules.add(eperm, __NR_unshare, {equals(0, flag, flag)});
  }
  for (uint32_t request : {uint32_t{TIOCSTI}, uint32_t{TIOCLINUX}, uint32_t{TIOCSETD}})
    rules.add(eperm, __NR_ioctl, {equals(1, kLow32, request)});
  rules.add(eperm, __NR_ioctl, {equals(1, kIoctlTypeMask, kSeccompIoctlType)});
  rules.add(SCMP_ACT_ERRNO(EBUSY), __NR_seccomp,
            {equals(0, kLow32, SECCOMP_SET_MODE_FILTER),
             equals(1, SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_NEW_LISTENER)});

  for (const Trap& trap : kTraps) {
    // Those of socket_creation are brought by their arguments: own_part().
    if (trap.group != TrapGroup::socket_creation && traps.has(trap.group)) rules.add(SCMP_ACT_NOTIFY, trap.number);
  }
  return rules.compile();
}

}  // namespace

Result<std::vector<sock_filter>> generate_filter(TrapSet traps) {
  Result<std::vector<sock_filter>> program = own_part(traps);
  if (!program) return program;
  Result<std::vector<sock_filter>> library = library_part(traps);
  if (!library) return library;
  program->insert(program->end(), library->begin(), library->end());
  if (program->size() > BPF_MAXINSNS) return fail("seccomp filter: too long for the kernel", E2BIG);
  return program;
}

}  // namespace wrapd::plan
