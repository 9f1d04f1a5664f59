// SPDX-License-Identifier: Apache-2.0
#include "policyfile/service_config.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/io.h"
#include "policy/yaml_reader.h"
#include "policyfile/yaml.h"

namespace wrapd::policyfile {
namespace {

constexpr unsigned kMaxLimit = 1000000;
constexpr size_t kMaxEntries = 1000;
constexpr size_t kMaxLookupBuffer = 1U << 20;

// A plain decimal number is an id, whether quoted or not. The largest means "no id" to the kernel.
std::optional<uint32_t> parse_id(std::string_view text) {
  uint32_t id = 0;
  auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failure != std::errc() || at != text.data() + text.size() || id == UINT32_MAX) return std::nullopt;
  return id;
}

// getpwnam_r(3) and getgrnam_r(3) with a buffer that grows. The id, nothing if there is no such entry, or an errno.
template <class Entry, class Lookup, class Id>
std::expected<std::optional<uint32_t>, int> look_up(const std::string& name, Lookup lookup, Id id) {
  std::vector<char> buffer(4096);
  for (;;) {
    Entry entry{};
    Entry* found = nullptr;
    int failure = lookup(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (failure == ERANGE && buffer.size() < kMaxLookupBuffer) {
      buffer.resize(buffer.size() * 2);
      continue;
    }
    if (found != nullptr) return id(entry);
    // What these return for "not found" differs between sources; see getpwnam(3).
    if (failure == 0 || failure == ENOENT || failure == ESRCH) return std::nullopt;
    return std::unexpected(failure);
  }
}

auto user_id(const std::string& name) {
  return look_up<passwd>(name, getpwnam_r, [](const passwd& e) { return e.pw_uid; });
}

auto group_id(const std::string& name) {
  return look_up<group>(name, getgrnam_r, [](const group& e) { return e.gr_gid; });
}

template <class LookUp>
void read_ids(policy::YamlReader& r, const policy::YamlNode& node, const std::string& what, LookUp look_up_name,
              std::vector<uint32_t>& ids, AccessRule* wildcards) {
  const auto& items = r.list(node, "'" + what + "s'");
  if (items.empty()) r.refuse(node, "'" + what + "s' is empty; name a " + what + " or remove the key");
  for (const auto& item : items) {
    std::string name = r.string(item, "a " + what);
    if (r.error()) return;
    if (wildcards != nullptr && name == "*") {
      wildcards->accounts = true;
    } else if (wildcards != nullptr && name == "*+") {
      wildcards->everybody = true;
    } else if (auto id = parse_id(name)) {
      ids.push_back(*id);
    } else if (auto found = look_up_name(name); !found) {
      r.refuse(item, "cannot look up " + what + " '" + printable(name, 64) + "': " + strerrordesc_np(found.error()) +
                         "; write the number");
    } else if (!*found) {
      r.refuse(item, "unknown " + what + " '" + printable(name, 64) + "'; name one that exists, or write its number");
    } else {
      ids.push_back(**found);
    }
  }
}

AccessRule read_access_rule(policy::YamlReader& r, const policy::YamlNode& node) {
  AccessRule rule;
  auto map = r.map(node, "an access entry", {"users", "groups", "policies", "default"});
  const auto* users = map.find("users");
  const auto* groups = map.find("groups");
  if (users != nullptr) read_ids(r, *users, "user", user_id, rule.users, &rule);
  if (groups != nullptr) read_ids(r, *groups, "group", group_id, rule.groups, nullptr);
  if (users == nullptr && groups == nullptr) {
    r.refuse(node,
             "the access entry has neither 'users' nor 'groups'; for everybody with an account write users: [\"*\"]");
  }
  if (const auto* v = r.required(map, node, "the access entry", "policies")) {
    const auto& items = r.list(*v, "'policies'");
    if (items.empty()) r.refuse(*v, "'policies' is empty; name at least one");
    for (const auto& item : items) {
      rule.policies.push_back(r.name(item, "policy name"));
      rule.places.push_back({.line = item.line, .column = item.column});
    }
  }
  if (const auto* v = r.required(map, node, "the access entry", "default")) {
    rule.default_policy = r.name(*v, "policy name");
    if (std::ranges::find(rule.policies, rule.default_policy) == rule.policies.end()) {
      r.refuse(*v,
               "default '" + printable(rule.default_policy, 64) + "' is not among the entry's policies; add it there");
    }
  }
  return rule;
}

void read_limits(policy::YamlReader& r, const policy::YamlNode& node, ServiceConfig& config) {
  auto map = r.map(node, "limits", {"sessions_per_user", "pending_per_user", "sessions", "pending"});
  if (const auto* v = map.find("sessions_per_user")) {
    config.sessions_per_user = r.number(*v, "'sessions_per_user'", 1, kMaxLimit);
  }
  if (const auto* v = map.find("pending_per_user")) {
    config.pending_per_user = r.number(*v, "'pending_per_user'", 1, kMaxLimit);
  }
  if (const auto* v = map.find("sessions")) config.sessions = r.number(*v, "'sessions'", 1, kMaxLimit);
  if (const auto* v = map.find("pending")) config.pending = r.number(*v, "'pending'", 1, kMaxLimit);
}

}  // namespace

const AccessRule* ServiceConfig::access_for(uid_t uid, gid_t gid, std::span<const gid_t> groups, bool account) const {
  for (const auto& rule : access) {
    auto in_rule = [&](gid_t g) { return std::ranges::find(rule.groups, g) != rule.groups.end(); };
    if (rule.everybody || (rule.accounts && (account || uid == 0)) ||
        std::ranges::find(rule.users, uid) != rule.users.end() || in_rule(gid) ||
        std::ranges::any_of(groups, in_rule)) {
      return &rule;
    }
  }
  return nullptr;
}

ServiceConfig default_service_config() {
  ServiceConfig config;
  config.access.push_back({.accounts = true, .policies = {"default"}, .default_policy = "default"});
  return config;
}

Result<ServiceConfig> load_service_config(std::string_view text, const std::string& file) {
  auto root = parse_yaml(text, file);
  if (!root) return std::unexpected(root.error());
  ServiceConfig config;
  policy::YamlReader r(file);
  auto map = r.map(*root, "the configuration", {"version", "access", "limits", "handoff"});
  r.version_1(map, *root, "the configuration");
  if (const auto* v = r.required(map, *root, "the configuration", "access")) {
    const auto& items = r.list(*v, "'access'");
    if (items.empty()) r.refuse(*v, "'access' is empty, so that nobody could use the service; add an entry");
    if (items.size() > kMaxEntries) r.refuse(*v, "more than " + std::to_string(kMaxEntries) + " entries; use groups");
    for (const auto& item : items) {
      if (!r.error()) config.access.push_back(read_access_rule(r, item));
    }
  }
  if (const auto* v = map.find("limits")) read_limits(r, *v, config);
  if (const auto* v = map.find("handoff")) {
    auto inner = r.map(*v, "handoff", {"permissive_fallback"});
    if (const auto* fallback = inner.find("permissive_fallback")) {
      config.permissive_fallback = r.boolean(*fallback, "'permissive_fallback'");
    }
  }
  if (r.error()) return std::unexpected(*r.error());
  return config;
}

}  // namespace wrapd::policyfile
