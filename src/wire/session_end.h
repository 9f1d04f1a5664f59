// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace wrapd::wire {

// Why a session ended, as its supervisor records it and as `wrap` tells its user. What each says stands in
// session_end.cc. Where a supervisor cannot record its end the service does, in words of its own.
enum class EndReason : uint8_t {
  finished,    // its last program has ended
  terminated,  // somebody ended it; `detail`: who
  died,        // its supervisor did
};

struct SessionEnd {
  EndReason reason = EndReason::finished;
  std::string detail = {};
};

// For the record of the session's end: one line, its detail as it came.
[[nodiscard]] std::string to_string(const SessionEnd& end);
// For the user of `wrap`.
[[nodiscard]] std::string to_user(const SessionEnd& end);

}  // namespace wrapd::wire
