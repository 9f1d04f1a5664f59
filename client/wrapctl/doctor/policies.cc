// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <string>
#include <vector>

#include "base/io.h"
#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/text.h"
#include "config.h"
#include "policyfile/installed.h"
#include "policyfile/lint.h"
#include "policyfile/load.h"
#include "policyfile/service_config.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr size_t kMaxConfig = 1U << 20;
constexpr const char* kCorrectConfig = "correct it, then wrapctl reload";
constexpr const char* kCorrect = "correct it (wrapctl policy check FILE), then wrapctl reload";

struct Tally {
  size_t good = 0;
  size_t bad = 0;
  std::string first_problem;
  size_t in_vain = 0;  // patterns that do less than they say
  std::string first_in_vain;
  void add_problem(const std::string& problem) {
    if (bad++ == 0) first_problem = safe_text(problem);
  }
  void add_remarks(const std::vector<policyfile::Remark>& remarks) {
    if (in_vain == 0 && !remarks.empty()) first_in_vain = safe_text(remarks.front().as_error());
    in_vain += remarks.size();
  }
};

Finding judged(const Tally& tally, const std::string& none) {
  auto policies = [](size_t n) { return std::to_string(n) + (n == 1 ? " policy" : " policies"); };
  if (tally.bad > 0) {
    return failed(policies(tally.bad) + " cannot be used; first: " + tally.first_problem, kCorrect);
  }
  if (tally.good == 0) return failed(none, "install a policy in " WRAPD_CONFIG_DIR "/policies");
  if (tally.in_vain > 0) {
    return fallback(std::to_string(tally.in_vain) + (tally.in_vain == 1 ? " path does" : " paths do") +
                        " less than written; first: " + tally.first_in_vain,
                    "write the real path, then wrapctl reload; wrapctl policy check FILE shows all");
  }
  return ok(policies(tally.good) + (tally.good == 1 ? " is" : " are") + " valid");
}

// What a user can know: what the service offers.
Finding examine_offered() {
  auto service = Service::connect();
  if (!service) return failed(service.error().message, "systemctl start dbus");
  auto policies = service->policies();
  if (!policies) return failed(policies.error().message, "systemctl status wrapd");
  Tally tally;
  for (const auto& policy : *policies) {
    if (policy.problem.empty()) {
      ++tally.good;
    } else {
      tally.add_problem(policy.problem);
    }
  }
  return judged(tally, "no policy may be used by you");
}

}  // namespace

Finding examine_policies(const std::string& config_directory, const std::string& vendor_directory) {
  Tally tally;
  const std::string config = config_directory + "/wrapd.yaml";
  auto access = policyfile::default_service_config();
  auto absent = policyfile::is_absent(config);
  if (!absent) return failed(safe_text(absent.error().message), kCorrectConfig);
  if (!*absent) {
    auto text = read_file(config, kMaxConfig);
    auto loaded = text ? policyfile::load_service_config(*text, config) : std::unexpected(text.error());
    if (!loaded) return failed(safe_text(loaded.error().message), kCorrectConfig);
    access = std::move(*loaded);
  }
  const std::string directories[] = {config_directory + "/policies", vendor_directory};
  auto files = policyfile::policy_files(directories);
  if (!files) return failed(safe_text(files.error().message), "mend it, or run this as root; then wrapctl reload");
  std::vector<std::string> names;
  for (const auto& [name, path] : *files) {
    if (auto policy = policyfile::load_policy_file(path, true)) {
      ++tally.good;
      names.push_back(policy->name);
      tally.add_remarks(policyfile::lint(*policy));
    } else {
      tally.add_problem(policy.error().message);
    }
  }
  // A file that cannot be used is the first thing to mend: it may be the one that is missed.
  if (auto granted = policyfile::check_granted(access, config, names); !granted && tally.bad == 0) {
    return failed(safe_text(granted.error().message), kCorrectConfig);
  }
  return judged(tally, "there is no policy");
}

// /etc/wrapd is root's alone.
Finding probe_policies() {
  return ::geteuid() == 0 ? examine_policies(WRAPD_CONFIG_DIR, WRAPD_VENDOR_POLICY_DIR) : examine_offered();
}

}  // namespace wrapd::wrapctl::doctor
