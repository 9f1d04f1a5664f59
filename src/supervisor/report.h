// SPDX-License-Identifier: Apache-2.0
#pragma once

// What others are told of a record: the audit, the service, and the user at the end. All of it is made here.

#include <sys/types.h>

#include <string_view>

#include "audit/event.h"
#include "policy/layers.h"
#include "supervisor/handler.h"
#include "wire/control.h"
#include "wire/supervisor_channel.h"

namespace wrapd::supervisor {

// Where a decision comes from; empty where no layer or no rule decided.
struct Origin {
  std::string_view policy;
  std::string_view mode;
  std::string_view rule;
  std::string_view guidance;
};
[[nodiscard]] Origin origin_of(const policy::Layers& layers, const policy::Decision& decision);

[[nodiscard]] audit::Event event_of(const policy::Layers& layers, TimedRecord timed);
// Of a question: `how` it stands, and who answered it.
[[nodiscard]] audit::Event event_of(const wire::CallReport& call, uint64_t question, const char* how,
                                    const std::string& by);
// For the service. Names that are too long to be told lose their middle.
[[nodiscard]] wire::CallReport call_report(const policy::Layers& layers, const Record& record, pid_t pid);
// For the user: one of a record that was not wanted, with the count of one.
[[nodiscard]] wire::DenialLine denial_line(const policy::Layers& layers, const Record& record);

}  // namespace wrapd::supervisor
