// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "client/wrapctl/output.h"
#include "client/wrapctl/text.h"
#include "client/wrapctl/verbs.h"

namespace wrapd::wrapctl {

std::string error_code(const BusError& error) {
  constexpr std::string_view kOwn = "org.wrapd1.Error.";
  return safe_text(error.name.starts_with(kOwn) ? error.name.substr(kOwn.size()) : error.name);
}

int report(const Context& context, const BusError& error) {
  if (context.json) {
    print_json({{"error", error.message}, {"code", error_code(error)}});
  } else {
    print_error(error.message);
  }
  return kFailed;
}

}  // namespace wrapd::wrapctl
