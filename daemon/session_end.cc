// SPDX-License-Identifier: Apache-2.0
#include "daemon/session_end.h"

#include <cerrno>

namespace wrapd::daemon {

std::string describe(ForcedEnd why, const std::string& detail, std::chrono::milliseconds limit) {
  const std::string time = std::to_string(limit.count()) + " ms";
  switch (why) {
    case ForcedEnd::bad_report:
      return "supervisor sent what it may not: " + detail;
    case ForcedEnd::unexpected_report:
      return "supervisor " + detail;
    case ForcedEnd::flood:
      return "supervisor flooded the service with reports and was killed";
    case ForcedEnd::not_ready:
      return "supervisor was not ready within " + time + " and was killed";
    case ForcedEnd::no_hand_off:
      return "the hand-offs were not done within " + time + "; the supervisor was killed";
    case ForcedEnd::programs_live:
      return "supervisor did not end its programs within " + time + " and was killed";
    case ForcedEnd::lingers:
      return "supervisor had finished but did not exit and was killed";
    case ForcedEnd::service_fault:
      break;
  }
  return detail;
}

std::string describe_death(const Result<ProcessEnd>& end, bool restarted, bool opening) {
  if (restarted && opening) return "the service was restarted while the session was opened";
  if (end) return "supervisor died: it " + end->text;
  if (end.error().code != ECHILD) return "supervisor died: " + end.error().message;
  return "supervisor died: how cannot be told, because the service was restarted since the session was opened";
}

}  // namespace wrapd::daemon
