// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include "wire/control.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wrapd::wire;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto reply = decode_session_reply(text)) {
    if (reply->id.size() != 32 || reply->notify_token.size() != 64 || !reply->directory.starts_with('/')) std::abort();
    std::string again = encode(*reply);
    auto second = decode_session_reply(again);
    if (!second && again.size() <= kMaxReply) std::abort();
    if (second && (second->directory != reply->directory || second->confinement != reply->confinement)) std::abort();
  } else if (reply.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  if (auto message = decode_session_message(text)) {
    const std::string again = encode(*message);
    auto second = decode_session_message(again);
    // Escaping may make an event longer than may be sent.
    if (!second && (again.size() <= kMaxReply || !std::holds_alternative<EventMessage>(*message))) std::abort();
    if (second && second->index() != message->index()) std::abort();
    if (const auto* waiting = std::get_if<WaitingCall>(&*message)) {
      if (std::get<WaitingCall>(*second).abstract != waiting->abstract) std::abort();
    } else if (const auto* terminated = std::get_if<Terminated>(&*message)) {
      if (std::get<Terminated>(*second).by != terminated->by) std::abort();
    }
    if (std::holds_alternative<Summary>(*message) && again.size() > kMaxReply) std::abort();
  }
  return 0;
}
