// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace wrapd::wire {

// Why a session ended: as its supervisor records it, or the service where the supervisor cannot, and as `wrap` tells
// its user. The words for each are in session_end.cc, and nowhere else.
enum class EndReason : uint8_t {
  finished,    // its last program has ended
  terminated,  // somebody ended it; `detail`: who
  died,        // its supervisor did; `detail`: how
  died_unseen,
  restarted,  // its supervisor died while the service was restarted, before it was open

  // The service killed the supervisor.
  bad_report,         // it sent what is no report; `detail`: what is wrong
  unexpected_report,  // a report that cannot be at this time; `detail`: "reported ..."
  flood,              // too many reports
  not_ready,          // within `limit`; also the next two
  no_hand_off,
  programs_live,  // it was told to end them
  lingers,        // it had finished, and did not exit
  service_fault,  // the service cannot watch it any more; `detail`: why
};

struct SessionEnd {
  EndReason reason = EndReason::finished;
  std::string detail = {};
  std::chrono::milliseconds limit = {};
};

// For the record of the session's end: one line, its detail as it came.
[[nodiscard]] std::string to_string(const SessionEnd& end);
// For the user of `wrap`: of `terminated`, and of any other end of the supervisor.
[[nodiscard]] std::string to_user(const SessionEnd& end);

}  // namespace wrapd::wire
