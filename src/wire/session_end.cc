// SPDX-License-Identifier: Apache-2.0
#include "wire/session_end.h"

namespace wrapd::wire {

std::string to_string(const SessionEnd& end) {
  const std::string limit = std::to_string(end.limit.count()) + " ms";
  switch (end.reason) {
    case EndReason::finished:
      return "finished";
    case EndReason::terminated:
      return "terminated by " + end.detail;
    case EndReason::died:
      return "supervisor died: " + end.detail;
    case EndReason::died_unseen:
      return "supervisor died: how cannot be told, because the service was restarted since the session was opened";
    case EndReason::restarted:
      return "the service was restarted while the session was opened";
    case EndReason::bad_report:
      return "supervisor sent what it may not: " + end.detail;
    case EndReason::unexpected_report:
      return "supervisor " + end.detail;
    case EndReason::flood:
      return "supervisor flooded the service with reports and was killed";
    case EndReason::not_ready:
      return "supervisor was not ready within " + limit + " and was killed";
    case EndReason::no_hand_off:
      return "the hand-offs were not done within " + limit + "; the supervisor was killed";
    case EndReason::programs_live:
      return "supervisor did not end its programs within " + limit + " and was killed";
    case EndReason::lingers:
      return "supervisor had finished but did not exit and was killed";
    case EndReason::service_fault:
      break;
  }
  return end.detail;
}

std::string to_user(const SessionEnd& end) {
  return end.reason == EndReason::terminated ? "the session was ended by " + end.detail
                                             : "the supervisor of this session has ended";
}

}  // namespace wrapd::wire
