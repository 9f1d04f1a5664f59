// SPDX-License-Identifier: Apache-2.0
#include "kernel/credentials.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

namespace wrapd::kernel {
namespace {

// Of a thread that act_as() changed.
thread_local std::optional<ThreadCapabilities> changed_thread;

constexpr auto kUnchanged = static_cast<uid_t>(-1);
constexpr uint64_t kIds = capability_bit(CAP_SETUID) | capability_bit(CAP_SETGID);

struct Named {
  int capability;
  const char* name;
};
constexpr Named kNames[] = {
    {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
    {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
    {CAP_FOWNER, "CAP_FOWNER"},
    {CAP_FSETID, "CAP_FSETID"},
    {CAP_MKNOD, "CAP_MKNOD"},
    {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
    {CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE"},
    {CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
};

Result<std::vector<gid_t>> read_groups() {
  long count = ::syscall(SYS_getgroups, 0, nullptr);
  if (count < 0) return fail_errno("cannot read groups");
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (count > 0 && ::syscall(SYS_getgroups, count, groups.data()) != count) return fail_errno("cannot read groups");
  std::ranges::sort(groups);
  return groups;
}

Result<> put_in_effect(ThreadCapabilities capabilities, uint64_t effective) {
  capabilities.effective = effective & capabilities.permitted;
  if (int rc = write_capabilities(capabilities); rc < 0) return fail_errno("cannot set capabilities", -rc);
  return {};
}

// Each id that differs. A change of the effective one carries the file system's along, and takes capabilities out of
// effect.
Result<> take_ids(const Credentials& wanted, const TaskCredentials& now, const ThreadCapabilities& capabilities) {
  if (auto able = put_in_effect(capabilities, kIds); !able) return able;
  if (wanted.groups != now.groups && ::syscall(SYS_setgroups, wanted.groups.size(), wanted.groups.data()) < 0) {
    return fail_errno("cannot set groups");
  }
  if (wanted.gid != now.gids[1] && ::syscall(SYS_setresgid, kUnchanged, wanted.gid, kUnchanged) < 0) {
    return fail_errno("cannot set the group id");
  }
  ::syscall(SYS_setfsgid, wanted.fs_gid);
  // Without it the kernel clears the permitted set where no id is root's any more.
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return fail_errno("cannot keep capabilities");
  if (wanted.uid != now.uids[1] && ::syscall(SYS_setresuid, kUnchanged, wanted.uid, kUnchanged) < 0) {
    return fail_errno("cannot set the user id");
  }
  if (auto able = put_in_effect(capabilities, kIds); !able) return able;
  ::syscall(SYS_setfsuid, wanted.fs_uid);
  if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0) return fail_errno("cannot stop keeping capabilities");
  // fs.suid_dumpable may have made us readable with the change.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("cannot stay non-dumpable");
  return {};
}

// Asked of the kernel itself, not of /proc.
Result<TaskCredentials> own_credentials() {
  TaskCredentials own;
  if (::syscall(SYS_getresuid, &own.uids[0], &own.uids[1], &own.uids[2]) < 0 ||
      ::syscall(SYS_getresgid, &own.gids[0], &own.gids[1], &own.gids[2]) < 0) {
    return fail_errno("cannot read ids");
  }
  // An invalid id changes nothing and returns the present one (setfsuid(2)).
  own.uids[3] = static_cast<uid_t>(::syscall(SYS_setfsuid, kUnchanged));
  own.gids[3] = static_cast<gid_t>(::syscall(SYS_setfsgid, kUnchanged));
  auto groups = read_groups();
  if (!groups) return std::unexpected(groups.error());
  own.groups = std::move(*groups);
  auto capabilities = read_capabilities();
  if (!capabilities) return std::unexpected(capabilities.error());
  own.permitted = capabilities->permitted;
  own.effective = capabilities->effective;
  return own;
}

bool has_ids(const TaskCredentials& now, const Credentials& wanted) {
  return now.uids[1] == wanted.uid && now.uids[3] == wanted.fs_uid && now.gids[1] == wanted.gid &&
         now.gids[3] == wanted.fs_gid && now.groups == wanted.groups;
}

}  // namespace

std::string names_of_capabilities(uint64_t capabilities) {
  std::string text;
  for (const Named& named : kNames) {
    if ((capabilities & capability_bit(named.capability)) != 0)
      text += (text.empty() ? "" : ", ") + std::string(named.name);
  }
  return text;
}

Credentials TaskCredentials::acting() const {
  return {.uid = uids[1],
          .fs_uid = uids[3],
          .gid = gids[1],
          .fs_gid = gids[3],
          .groups = groups,
          .capabilities = effective & kActingCapabilities};
}

bool TaskCredentials::settled() const {
  return no_new_privs && permitted == 0 && std::ranges::count(uids, uids[0]) == std::ssize(uids) &&
         std::ranges::count(gids, gids[0]) == std::ssize(gids);
}

std::string text_of(const Credentials& credentials) {
  std::string text = "uid " + std::to_string(credentials.uid) + ", gid " + std::to_string(credentials.gid);
  if (credentials.fs_uid != credentials.uid) text += ", file system uid " + std::to_string(credentials.fs_uid);
  if (credentials.fs_gid != credentials.gid) text += ", file system gid " + std::to_string(credentials.fs_gid);
  return text;
}

Result<ThreadCapabilities> read_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) < 0) return fail_errno("cannot read capabilities");
  auto join = [&](auto member) { return uint64_t{data[0].*member} | uint64_t{data[1].*member} << 32; };
  return ThreadCapabilities{.effective = join(&__user_cap_data_struct::effective),
                            .permitted = join(&__user_cap_data_struct::permitted),
                            .inheritable = join(&__user_cap_data_struct::inheritable)};
}

int write_capabilities(const ThreadCapabilities& capabilities) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2];
  for (unsigned half : {0U, 1U}) {
    data[half] = {.effective = static_cast<uint32_t>(capabilities.effective >> (32 * half)),
                  .permitted = static_cast<uint32_t>(capabilities.permitted >> (32 * half)),
                  .inheritable = static_cast<uint32_t>(capabilities.inheritable >> (32 * half))};
  }
  return ::syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

Result<> act_as(const Credentials& wanted) {
  auto before = own_credentials();
  if (!before) return std::unexpected(before.error());
  auto capabilities = read_capabilities();
  if (!capabilities) return std::unexpected(capabilities.error());
  if (!has_ids(*before, wanted)) {
    if (auto taken = take_ids(wanted, *before, *capabilities); !taken) return taken;
  }
  if (auto set = put_in_effect(*capabilities, wanted.capabilities); !set) return set;
  auto after = own_credentials();
  if (!after) return std::unexpected(after.error());
  if (!has_ids(*after, wanted) || after->effective != wanted.capabilities || after->permitted != before->permitted ||
      after->uids[0] != before->uids[0] || after->uids[2] != before->uids[2] || after->gids[0] != before->gids[0] ||
      after->gids[2] != before->gids[2]) {
    return fail("credentials are not what was asked for");
  }
  capabilities->effective = wanted.capabilities;
  changed_thread = *capabilities;
  return {};
}

Raised::Raised(const ThreadCapabilities& process, int capability) : before_(changed_thread.value_or(process)) {
  ThreadCapabilities raised = before_;
  raised.effective |= capability_bit(capability) & before_.permitted;
  // If it cannot be raised, the privileged call fails by itself.
  active_ = raised.effective != before_.effective && write_capabilities(raised) == 0;
}

Raised::~Raised() {
  if (!active_) return;
  int saved = errno;
  if (write_capabilities(before_) < 0) __builtin_trap();
  errno = saved;
}

}  // namespace wrapd::kernel
