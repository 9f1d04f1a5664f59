// SPDX-License-Identifier: Apache-2.0
#pragma once

// What callers may know of the catalogue. A caller who is not root sees the policies that wrapd.yaml grants them; of
// others such a caller learns nothing, not even whether they exist. `account`: the user database knows the caller.
// Where that is not known yet a caller sees what those with an account see: nothing is opened here.

#include <memory>
#include <string_view>
#include <vector>

#include "base/credentials.h"
#include "daemon/catalogue.h"
#include "daemon/service_api.h"

namespace wrapd::daemon {

[[nodiscard]] std::vector<PolicyInfo> visible_policies(const Catalogue& catalogue, const PeerCredentials& caller,
                                                       bool account = true);
[[nodiscard]] ApiResult<PolicyText> visible_policy_text(const Catalogue& catalogue, const PeerCredentials& caller,
                                                        std::string_view name, bool account = true);
// A policy that the caller may use; the caller's default for an empty name.
[[nodiscard]] ApiResult<std::shared_ptr<const CataloguePolicy>> usable_policy(const Catalogue& catalogue,
                                                                              const PeerCredentials& caller,
                                                                              std::string_view name,
                                                                              bool account = true);

}  // namespace wrapd::daemon
