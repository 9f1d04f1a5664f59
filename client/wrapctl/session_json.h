// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "client/wrapctl/service.h"

namespace wrapd::wrapctl {

// The keys that wrapctl(1) documents.
[[nodiscard]] nlohmann::json to_json(const Session& session);
[[nodiscard]] nlohmann::json to_json(const Question& question);

// A unix socket's name as people write it: abstract ones begin with '@'.
[[nodiscard]] std::string shown_target(const std::string& target, bool abstract);

}  // namespace wrapd::wrapctl
