// SPDX-License-Identifier: Apache-2.0
#include "daemon/catalogue.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/io.h"
#include "daemon/session_record.h"
#include "policyfile/installed.h"
#include "policyfile/load.h"

namespace wrapd::daemon {
namespace {

constexpr size_t kMaxConfig = 1U << 20;

// A file that somebody else can write says what somebody else wants.
bool root_only(const struct stat& st) {
  return st.st_uid == 0 && (st.st_mode & 022) == 0;
}

Result<policyfile::ServiceConfig> load_config(const std::string& path) {
  auto absent = policyfile::is_absent(path);
  if (!absent) return std::unexpected(absent.error());
  if (*absent) return policyfile::default_service_config();
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return fail_errno("cannot open " + printable(path));
  struct stat file {};
  struct stat directory {};
  const std::string parent = std::filesystem::path(path).parent_path().string();
  if (::fstat(fd.get(), &file) < 0) return fail_errno("cannot stat " + printable(path));
  if (::stat(parent.empty() ? "." : parent.c_str(), &directory) < 0)
    return fail_errno("cannot stat " + printable(parent));
  if (!S_ISREG(file.st_mode)) return fail(printable(path) + ": not a regular file");
  if (!root_only(file) || !root_only(directory)) {
    return fail(printable(path) + ": others than root can write it or its directory; chown root and chmod go-w");
  }
  auto text = read_all(fd.get(), kMaxConfig);
  if (!text) return fail(printable(path) + ": " + text.error().message, text.error().code);
  return policyfile::load_service_config(*text, path);
}

Result<std::shared_ptr<CataloguePolicy>> load_policy(const std::string& path) {
  auto text = policyfile::read_policy_file(path, true);
  if (!text) return std::unexpected(text.error());
  auto policy = policyfile::load_policy(*text, printable(path));
  if (!policy) return std::unexpected(policy.error());
  auto entry = std::make_shared<CataloguePolicy>();
  entry->use = variables_used(*policy);
  entry->policy = std::move(*policy);
  entry->digest = policy_digest(*text);
  entry->text = std::move(*text);
  return entry;
}

void add_policy(Catalogue& catalogue, const std::string& stem, const std::string& path) {
  auto entry = load_policy(path);
  if (!entry) {
    catalogue.rejected.push_back({.file = path, .name = stem, .why = entry.error().message});
    return;
  }
  std::string name = (*entry)->policy.name;
  if (auto other = catalogue.policies.find(name); other != catalogue.policies.end()) {
    catalogue.rejected.push_back({.file = path,
                                  .name = name,
                                  .why = printable(path) + ": the policy " + printable(name) +
                                         " is already defined in " + printable(other->second->policy.file) +
                                         "; give one of them another name"});
    return;
  }
  catalogue.policies.emplace(std::move(name), std::move(*entry));
}

// What is granted must be there. A file that could not be read may be the one that has it: then that is told, and the
// others are served.
Result<> check_granted(Catalogue& catalogue, const std::string& file) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : catalogue.policies) names.push_back(name);
  for (const auto& rejected : catalogue.rejected) names.push_back(rejected.name);
  auto granted = policyfile::check_granted(catalogue.config, file, names);
  if (granted || catalogue.rejected.empty()) return granted;
  catalogue.rejected.push_back({.file = file, .name = {}, .why = granted.error().message});
  return {};
}

}  // namespace

VariableUse variables_used(const policy::Policy& policy) {
  return {.home = policy.uses(policy::Variable::home),
          .cwd = policy.uses(policy::Variable::cwd),
          .uid = policy.uses(policy::Variable::uid),
          .user = policy.uses(policy::Variable::user),
          .xdg_runtime_dir = policy.uses(policy::Variable::xdg_runtime_dir)};
}

std::shared_ptr<const CataloguePolicy> Catalogue::find(std::string_view name) const {
  if (rejection(name) != nullptr) return nullptr;
  auto it = policies.find(name);
  return it == policies.end() ? nullptr : it->second;
}

const RejectedPolicy* Catalogue::rejection(std::string_view name) const {
  auto it = std::ranges::find(rejected, name, &RejectedPolicy::name);
  return it == rejected.end() ? nullptr : &*it;
}

Result<std::shared_ptr<const Catalogue>> load_catalogue(const CataloguePaths& paths) {
  auto catalogue = std::make_shared<Catalogue>();
  auto config = load_config(paths.config);
  if (!config) return std::unexpected(config.error());
  catalogue->config = std::move(*config);
  const std::string directories[] = {paths.policies, paths.vendor_policies};
  auto files = policyfile::policy_files(directories);
  if (!files) return std::unexpected(files.error());
  for (const auto& [name, path] : *files) add_policy(*catalogue, name.substr(0, name.size() - 5), path);
  if (auto granted = check_granted(*catalogue, paths.config); !granted) return std::unexpected(granted.error());
  return catalogue;
}

}  // namespace wrapd::daemon
