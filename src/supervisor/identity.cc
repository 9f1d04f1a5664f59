// SPDX-License-Identifier: Apache-2.0
#include "supervisor/identity.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernel/credentials.h"
#include "plan/supervisor_filter.h"

namespace wrapd::supervisor {
namespace {

using kernel::capability_bit;
using kernel::read_capabilities;

// In root's session a task may be anybody: its supervisor acts with the task's ids and capabilities, and keeps what
// that takes, as far as it has it.
uint64_t permitted_for(uid_t uid) {
  uint64_t permitted = capability_bit(CAP_SYS_PTRACE);
  if (uid == 0) permitted |= capability_bit(CAP_SETUID) | capability_bit(CAP_SETGID) | kernel::kActingCapabilities;
  return permitted;
}

Result<> verify(const Identity& identity, uint64_t permitted) {
  uid_t ruid = 0, euid = 0, suid = 0;
  gid_t rgid = 0, egid = 0, sgid = 0;
  if (::getresuid(&ruid, &euid, &suid) < 0 || ::getresgid(&rgid, &egid, &sgid) < 0)
    return fail_errno("cannot read ids");
  bool ids = ruid == identity.own_uid && euid == identity.uid && suid == identity.own_uid && rgid == identity.own_gid &&
             egid == identity.gid && sgid == identity.own_gid;
  // An invalid id changes nothing and returns the present one (setfsuid(2)).
  ids = ids && static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) == identity.uid &&
        static_cast<gid_t>(::setfsgid(static_cast<gid_t>(-1))) == identity.gid;
  if (!ids) return fail("ids are not what was asked for");

  int count = ::getgroups(0, nullptr);
  if (count < 0) return fail_errno("cannot read groups");
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (count > 0 && ::getgroups(count, groups.data()) != count) return fail_errno("cannot read groups");
  std::vector<gid_t> wanted = identity.groups;
  std::ranges::sort(groups);
  std::ranges::sort(wanted);
  if (groups != wanted) return fail("groups are not what was asked for");

  auto capabilities = read_capabilities();
  if (!capabilities) return std::unexpected(capabilities.error());
  if (capabilities->permitted != permitted || capabilities->effective != 0 || capabilities->inheritable != 0) {
    return fail("capabilities are not what was asked for");
  }
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return fail("no_new_privs is not set");
  if (::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return fail("process is dumpable");
  return {};
}

}  // namespace

Result<> enter_root(int root, int working_directory) {
  if (::fchdir(root) < 0) return fail_errno("cannot enter the caller's root directory");
  if (::chroot(".") < 0) return fail_errno("cannot take the caller's root directory");
  if (::fchdir(working_directory) < 0) return fail_errno("cannot return to /proc/self/fd");
  return {};
}

Result<> assume(const Identity& identity) {
  constexpr auto kNone = static_cast<uid_t>(-1);
  if (identity.own_uid == kNone || identity.own_uid == 0 || identity.uid == kNone || identity.gid == kNone ||
      identity.own_gid == kNone || identity.own_uid == identity.uid) {
    return fail("the supervisor's own user must be neither root nor the caller");
  }
  rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) < 0) return fail_errno("cannot forbid core dumps");
  if (::setgroups(identity.groups.size(), identity.groups.data()) < 0) return fail_errno("cannot set groups");
  if (::setresgid(identity.own_gid, identity.gid, identity.own_gid) < 0) return fail_errno("cannot set group ids");
  // Without it the kernel clears the permitted set when no id is root's any more.
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return fail_errno("cannot keep capabilities");
  if (::setresuid(identity.own_uid, identity.uid, identity.own_uid) < 0) return fail_errno("cannot set user ids");
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) return fail_errno("cannot stop keeping capabilities");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail_errno("cannot clear ambient capabilities");
  auto had = read_capabilities();
  if (!had) return std::unexpected(had.error());
  const uint64_t permitted = permitted_for(identity.uid) & (had->permitted | capability_bit(CAP_SYS_PTRACE));
  if (int rc = kernel::write_capabilities({.effective = 0, .permitted = permitted, .inheritable = 0}); rc < 0) {
    return fail_errno("cannot drop capabilities", -rc);
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("cannot set no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("cannot become non-dumpable");
  return verify(identity, permitted);
}

Result<> confine_self(uid_t uid, bool& applies) {
  applies = plan::kSupervisorFilterApplies;
  if (!applies) return {};
  std::span<const sock_filter> filter(plan::kSupervisorFilter);
  if (uid == 0) filter = plan::kRootSupervisorFilter;
  sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                     .filter = const_cast<sock_filter*>(filter.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) return fail_errno("cannot install own filter");
  return {};
}

}  // namespace wrapd::supervisor
