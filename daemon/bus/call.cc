// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/call.h"

#include "base/io.h"
#include "daemon/bus/sd_bus.h"

namespace wrapd::daemon::bus {

sdbus::MethodCall& Call::arguments() {
  message_.rewind(true);
  return message_;
}

std::string Call::path() const {
  return message_.getPath();
}

bool Call::allows_interaction() const noexcept {
  return sd::allows_interaction(message_);
}

void Call::refuse(const ApiError& error) noexcept {
  if (answered_) return;
  answered_ = true;
  no_throw("an answer", [&] {
    message_.createErrorReply(compat::error("org.wrapd1.Error." + error.code, printable(error.message))).send();
  });
  finish();
}

void Call::drop() noexcept {
  answered_ = true;
  finish();
}

void Call::finish() noexcept {
  if (auto finished = std::exchange(finished_, {})) finished();
}

}  // namespace wrapd::daemon::bus
