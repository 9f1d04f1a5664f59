// SPDX-License-Identifier: Apache-2.0
#include "client/wrap/confine/landlock.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/wrap/confine/steps.h"
#include "kernel/uapi.h"

namespace wrapd::client {
namespace {

constexpr int kAbiRefer = 2;   // Linux 5.19
constexpr int kAbiScopes = 6;  // Linux 6.12

Result<UniqueFd> create_ruleset(const kernel::LandlockRulesetAttr& attr) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0)));
  if (!fd) return fail_errno("cannot create a Landlock ruleset");
  return fd;
}

// A domain that restricts nothing but what every domain restricts. A ruleset must handle something; handling any file
// right refuses moving files between directories unless REFER is handled and granted, so REFER it is, from the root on.
Result<UniqueFd> create_bare_ruleset() {
  auto ruleset = create_ruleset({.handled_access_fs = LANDLOCK_ACCESS_FS_REFER});
  if (!ruleset) return ruleset;
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail_errno("cannot open the root directory");
  landlock_path_beneath_attr beneath{.allowed_access = LANDLOCK_ACCESS_FS_REFER, .parent_fd = root.get()};
  if (::syscall(SYS_landlock_add_rule, ruleset->get(), LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0) {
    return fail_errno("cannot add a Landlock rule");
  }
  return ruleset;
}

int enter(const Confined& confined, int&) noexcept {
  if (confined.landlock_ruleset < 0) return 0;
  return ::syscall(SYS_landlock_restrict_self, confined.landlock_ruleset, 0) < 0 ? errno : 0;
}

std::string failure(int error) {
  if (error == E2BIG) return "cannot enter a Landlock domain: too many are nested already; run it less deeply wrapped";
  return fail_errno("cannot enter a Landlock domain", error).error().message;
}

}  // namespace

const Step kLandlock{.take = enter, .failure = failure};

int landlock_abi() {
  long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kernel::kLandlockCreateRulesetVersion);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Result<Domain> make_domain(const plan::Confinement& confinement, int abi) {
  Domain domain;
  const bool wants_scopes = confinement.scopes.any();
  // Without a domain CMD could write to the memory of the user's other processes: nothing of a policy would hold.
  if (abi < kAbiRefer) {
    return fail("this kernel offers no Landlock that can be used (ABI " + std::to_string(abi) +
                "), so CMD could reach into other processes of yours; enable it (lsm=landlock,... at boot)");
  }
  if (wants_scopes && abi < kAbiScopes) {
    std::string missing = "this kernel's Landlock (ABI " + std::to_string(abi) + ") has no scopes";
    std::string effect = "CMD could signal other processes of yours";
    if (!confinement.monitor_unsupported) {
      return fail(missing + ", so " + effect +
                  "; use Linux 6.12 or later, or set on_unsupported: monitor in the policy");
    }
    domain.notice = missing + ": " + effect;
  }

  if (wants_scopes && abi >= kAbiScopes) {
    uint64_t scoped = (confinement.scopes.signal ? kernel::kLandlockScopeSignal : 0) |
                      (confinement.scopes.abstract_socket ? kernel::kLandlockScopeAbstract : 0);
    auto ruleset = create_ruleset({.scoped = scoped});
    if (!ruleset) return std::unexpected(ruleset.error());
    domain.ruleset = std::move(*ruleset);
    return domain;
  }
  auto ruleset = create_bare_ruleset();
  if (!ruleset) return std::unexpected(ruleset.error());
  domain.ruleset = std::move(*ruleset);
  return domain;
}

}  // namespace wrapd::client
