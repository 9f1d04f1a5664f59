// SPDX-License-Identifier: Apache-2.0
#pragma once

// Why a session ended that its supervisor did not record itself, and the words for it.

#include <chrono>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "daemon/supervisor_process.h"

namespace wrapd::daemon {

enum class ForcedEnd : uint8_t {
  bad_report,         // what the supervisor sent is no report
  unexpected_report,  // a report that cannot be at this time
  flood,              // too many reports
  not_ready,          // in time; also the next four
  no_hand_off,
  programs_live,  // it was told to end them
  lingers,        // it had finished, and did not exit
  service_fault,  // the service cannot watch it any more
};
// `detail` is that of bad_report, unexpected_report ("reported ...") and service_fault, `limit` the time that the
// supervisor had.
[[nodiscard]] std::string describe(ForcedEnd why, const std::string& detail, std::chrono::milliseconds limit);

// Of a supervisor that died by itself. `restarted`: an earlier run of the service opened the session; `opening`: it was
// not open yet.
[[nodiscard]] std::string describe_death(const Result<ProcessEnd>& end, bool restarted, bool opening);

}  // namespace wrapd::daemon
