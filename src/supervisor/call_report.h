// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string_view>

#include "policy/layers.h"
#include "supervisor/handler.h"
#include "wire/supervisor_channel.h"

namespace wrapd::supervisor {

// What the service is told of a call: what was asked for, by whom, and which rule of which layer says so. Names that
// are too long to be told lose their middle.
[[nodiscard]] wire::CallReport call_report(const policy::Layers& layers, const Record& record, pid_t pid);

// Of the rule that decided; empty where it has none, or where none did.
[[nodiscard]] std::string_view guidance_of(const policy::Layers& layers, const policy::Decision& decision);

}  // namespace wrapd::supervisor
