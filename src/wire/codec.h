// SPDX-License-Identifier: Apache-2.0
#pragma once

// Shared by the codecs of this directory only.

#include <string>
#include <string_view>

#include "wire/control.h"
#include "wire/json_reader.h"

namespace wrapd::wire {

// Cuts what is only shown: the result is escaped and at most `max` bytes long.
[[nodiscard]] std::string cut(std::string_view bytes, size_t max);

[[nodiscard]] Result<SessionReply> session_reply_from(const Value& object);

}  // namespace wrapd::wire
