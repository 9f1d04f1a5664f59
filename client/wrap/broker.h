// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "client/wrap/confine/filter.h"
#include "wire/control.h"
#include "wire/handoff.h"

namespace wrapd::client {

inline constexpr std::chrono::milliseconds kBrokerTimeout{10000};

// A session that waits for its command.
struct OpenSession {
  UniqueFd control;
  wire::SessionReply reply;
  FilterProgram filter;  // none if the command is not filtered
};

// Asks the service at `control_path` for a session. `profile` is the compiled profile's descriptor, or -1.
[[nodiscard]] Result<OpenSession> open_session(const std::string& control_path, const wire::OpenRequest& request,
                                               int profile);

// A connection to one of the session's sockets.
[[nodiscard]] Result<UniqueFd> connect_handoff(const wire::SessionReply& reply, wire::HandoffKind kind);

// Sends the frame with the one descriptor.
[[nodiscard]] Result<> send_handoff(int connection, wire::HandoffKind kind, const std::string& token, int fd);

// Waits until every connection has answered `accepted`. Anything else, and the end of the control channel or of the
// command's process meanwhile, is an error.
[[nodiscard]] Result<> await_acceptance(std::span<const int> connections, int control, int command_pidfd);

}  // namespace wrapd::client
