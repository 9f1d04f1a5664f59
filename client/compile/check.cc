// SPDX-License-Identifier: Apache-2.0
#include "client/compile/check.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "base/io.h"
#include "base/result.h"
#include "policy/rules.h"
#include "policyfile/load.h"

namespace wrapd::compile {
namespace {

struct Ids {
  uid_t uid = 0;
  gid_t gid = 0;
};

std::optional<unsigned> id_of(std::string_view text) {
  unsigned id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  // -1 means "leave it" to setresuid(2).
  if (error != std::errc() || end != text.data() + text.size() || id == static_cast<unsigned>(-1)) return std::nullopt;
  return id;
}

Result<std::optional<Ids>> parse(int argc, char** argv) {
  if (argc == 0) return std::nullopt;
  if (argc != 2 || std::string_view(argv[0]) != "--become") {
    return fail("usage: wrap-compile --check [--become UID:GID]");
  }
  std::string_view text(argv[1]);
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return fail("--become takes UID:GID");
  auto uid = id_of(text.substr(0, colon));
  auto gid = id_of(text.substr(colon + 1));
  if (!uid || !gid) return fail("--become takes UID:GID");
  return Ids{.uid = *uid, .gid = *gid};
}

Result<> become(const Ids& ids) {
  if (::setgroups(0, nullptr) < 0) return fail_errno("cannot drop groups");
  if (::setresgid(ids.gid, ids.gid, ids.gid) < 0) return fail_errno("cannot set group ids");
  if (::setresuid(ids.uid, ids.uid, ids.uid) < 0) return fail_errno("cannot set user ids");
  uid_t uid[3];
  gid_t gid[3];
  if (::getresuid(&uid[0], &uid[1], &uid[2]) < 0 || ::getresgid(&gid[0], &gid[1], &gid[2]) < 0) {
    return fail_errno("cannot read ids");
  }
  for (int i = 0; i < 3; ++i) {
    if (uid[i] != ids.uid || gid[i] != ids.gid) return fail("ids were not taken");
  }
  return {};
}

// Nothing that a program could do with a text needs any of them. Root, too, keeps none.
Result<> drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capset, &header, none) < 0) return fail_errno("cannot drop capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("cannot set no_new_privs");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("cannot make the process undumpable");
  return {};
}

Result<> limit_resources() {
  struct {
    decltype(RLIMIT_CPU) resource;
    rlim_t limit;
  } constexpr kLimits[] = {
    {RLIMIT_CPU, 4},  // seconds
#if !defined(__SANITIZE_ADDRESS__)
    {RLIMIT_AS, 512UL << 20},
#endif
    {RLIMIT_FSIZE, 65536},
    {RLIMIT_NOFILE, 8},
    {RLIMIT_NPROC, 0},
    {RLIMIT_CORE, 0},
  };
  for (const auto& [resource, limit] : kLimits) {
    const rlimit both{.rlim_cur = limit, .rlim_max = limit};
    if (::setrlimit(resource, &both) < 0) return fail_errno("cannot limit resources");
  }
  return {};
}

Result<> confine(const std::optional<Ids>& ids) {
  if (::geteuid() == 0 && !ids) return fail("root reads no user's rules; use --become UID:GID");
  if (ids) {
    if (auto became = become(*ids); !became) return became;
  }
  if (auto dropped = drop_capabilities(); !dropped) return dropped;
  return limit_resources();
}

// Empty: nothing is wrong.
std::string problem_with(std::string_view text) {
  auto policy = policyfile::load_policy(text, "policy");
  if (!policy) return policy.error().message;
  // Sizes, and what only shows with variables filled in; whose they are makes no difference here.
  const policy::Variables variables{
      .home = "/home/user", .cwd = "/home/user", .uid = "1000", .user = "user", .xdg_runtime_dir = "/run/user/1000"};
  auto rules = policy::compile_rules(*policy, variables);
  return rules ? std::string() : rules.error().message;
}

int complain(const Error& error) {
  std::fprintf(stderr, "wrap-compile: %s\n", error.message.c_str());
  return kExitFailure;
}

}  // namespace

int run_check(int argc, char** argv) {
  auto ids = parse(argc, argv);
  if (!ids) return complain(ids.error());
  if (auto confined = confine(*ids); !confined) return complain(confined.error());
  auto text = SealedMapping::map(STDIN_FILENO, kMaxCheckedText);
  if (!text) return complain(text.error());
  const std::string problem = problem_with({reinterpret_cast<const char*>(text->bytes().data()), text->bytes().size()});
  if (problem.empty()) return 0;
  if (auto written = write_all(STDOUT_FILENO, problem + "\n"); !written) return complain(written.error());
  return kExitProblems;
}

}  // namespace wrapd::compile

#if defined(__SANITIZE_ADDRESS__)
// Leaks are looked for by a second process that traces this one, and this one may neither start nor be traced by any.
extern "C" const char* __lsan_default_options() {
  return "detect_leaks=0";
}
#endif
