// SPDX-License-Identifier: Apache-2.0
#include "wire/session_end.h"

namespace wrapd::wire {

std::string to_string(const SessionEnd& end) {
  switch (end.reason) {
    case EndReason::finished:
      return "finished";
    case EndReason::terminated:
      return "terminated by " + end.detail;
    case EndReason::died:
      return "supervisor died";
  }
  return "unknown";
}

std::string to_user(const SessionEnd& end) {
  switch (end.reason) {
    case EndReason::finished:
      return "the session has ended";
    case EndReason::terminated:
      return "the session was ended by " + end.detail;
    case EndReason::died:
      return "the supervisor of this session has ended";
  }
  return "unknown";
}

}  // namespace wrapd::wire
