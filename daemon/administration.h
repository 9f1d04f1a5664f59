// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that the administrator says, as one: read whole or not at all.

#include <memory>
#include <string>

#include "base/result.h"
#include "daemon/catalogue.h"
#include "daemon/journal.h"
#include "daemon/quota.h"
#include "daemon/supervisor_process.h"

namespace wrapd::daemon {

struct Administration {
  std::shared_ptr<const Catalogue> catalogue;
  SupervisorIds supervisor_ids;
  std::shared_ptr<const SubordinateIds> subordinate_ids;
};
// subuid(5); a file that is missing or cannot be used is one without ranges, which is told on stderr.
[[nodiscard]] std::shared_ptr<const SubordinateIds> load_subordinate_ids(const std::string& path);
// Looks up users: may block.
[[nodiscard]] Result<Administration> load_administration(const CataloguePaths& paths);
// What is in force for those who have sessions while the configuration is broken: nobody opens any.
[[nodiscard]] Administration nothing_in_force();

// Records, and says on stderr, what was loaded and what was not. `by`: who had it loaded; empty: the service's start.
void announce_loaded(Journal& journal, const Catalogue& catalogue, const std::string& by = {});
void announce_rejected(Journal& journal, const Catalogue& catalogue, const std::string& by = {});
void announce_broken(Journal& journal, const CataloguePaths& paths, const Error& error, const std::string& by = {});

}  // namespace wrapd::daemon
