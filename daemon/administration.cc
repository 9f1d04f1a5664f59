// SPDX-License-Identifier: Apache-2.0
#include "daemon/administration.h"

#include <cstdio>

#include "audit/event.h"
#include "base/io.h"
#include "config.h"

namespace wrapd::daemon {

std::shared_ptr<const SubordinateIds> load_subordinate_ids(const std::string& path) {
  constexpr size_t kMostBytes = 4U << 20;
  auto text = read_file(path, kMostBytes);
  if (!text && text.error().code != ENOENT) {
    std::fprintf(stderr, "wrapd: subordinate ids count as users of their own: %s\n", text.error().message.c_str());
  }
  return std::make_shared<const SubordinateIds>(text ? SubordinateIds::parse(*text) : SubordinateIds());
}

Result<Administration> load_administration(const CataloguePaths& paths) {
  auto catalogue = load_catalogue(paths);
  if (!catalogue) return std::unexpected(catalogue.error());
  auto ids = find_supervisor_ids(WRAPD_SUPERVISOR_USER);
  if (!ids) return std::unexpected(ids.error());
  return Administration{.catalogue = std::move(*catalogue),
                        .supervisor_ids = *ids,
                        .subordinate_ids = load_subordinate_ids(paths.subordinate_ids)};
}

Administration nothing_in_force() {
  auto catalogue = std::make_shared<Catalogue>();
  catalogue->problem = "the service's configuration is broken; the administrator finds the reason in its journal";
  return {.catalogue = std::move(catalogue), .supervisor_ids = {}, .subordinate_ids = {}};
}

void announce_loaded(Journal& journal, const Catalogue& catalogue, const std::string& by) {
  for (const auto& [name, entry] : catalogue.policies) {
    auto event = audit::make_event(audit::Kind::policy_loaded);
    event.policy = name;
    event.path = entry->policy.file;
    event.mode = policy::to_string(entry->policy.effective_mode());
    event.by = by;
    journal.record(std::move(event));
  }
}

void announce_rejected(Journal& journal, const Catalogue& catalogue, const std::string& by) {
  for (const auto& rejected : catalogue.rejected) {
    std::fprintf(stderr, "wrapd: %s\n", rejected.why.c_str());
    auto event = audit::make_event(audit::Kind::policy_rejected);
    event.policy = rejected.name;
    event.path = rejected.file;
    event.reason = rejected.why;
    event.by = by;
    journal.record(std::move(event));
  }
}

void announce_broken(Journal& journal, const CataloguePaths& paths, const Error& error, const std::string& by) {
  auto event = audit::make_event(audit::Kind::policy_rejected);
  event.path = paths.config;
  event.reason = error.message;
  event.by = by;
  journal.record(std::move(event));
}

}  // namespace wrapd::daemon
