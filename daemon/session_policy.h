// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/credentials.h"
#include "daemon/catalogue.h"
#include "wire/control.h"

namespace wrapd::daemon {

struct SessionPolicy {
  std::string name;
  std::shared_ptr<const CataloguePolicy> policy;
};
// The policy of a session for this caller: the `wanted` one, or its default, if wrapd.yaml grants it. `account`: its
// uid has one. A caller learns nothing about policies that are not meant for it: not even whether they exist.
[[nodiscard]] std::expected<SessionPolicy, wire::ErrorReply> policy_for(const Catalogue& catalogue,
                                                                        const PeerCredentials& peer, bool account,
                                                                        const std::optional<std::string>& wanted);

}  // namespace wrapd::daemon
