// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "policy/pattern.h"

namespace wrapd::policy {

// As the loader makes them of a rule's paths. Throws where one is no pattern.
inline std::vector<Pattern> patterns(const std::vector<std::string>& texts) {
  std::vector<Pattern> out;
  for (const std::string& text : texts) out.push_back(parse_pattern(text).value());
  return out;
}

}  // namespace wrapd::policy
