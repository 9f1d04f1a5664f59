// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cstring>

namespace wrapd {

std::unexpected<Error> fail_errno(std::string context, int code) {
  context += ": ";
  context += ::strerrordesc_np(code) != nullptr ? ::strerrordesc_np(code) : "unknown error";
  return fail(std::move(context), code);
}

}  // namespace wrapd
