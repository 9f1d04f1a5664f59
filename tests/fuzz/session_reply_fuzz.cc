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
    if (second && (second->directory != reply->directory || second->filtered != reply->filtered)) std::abort();
  } else if (reply.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  if (auto message = decode_session_message(text)) {
    if (message->summary.has_value() + message->event_json.has_value() + message->terminated.has_value() +
            message->waiting.has_value() !=
        1) {
      std::abort();
    }
    if (message->waiting) {
      auto again = decode_session_message(encode(*message->waiting));
      if (!again || !again->waiting || again->waiting->abstract != message->waiting->abstract) std::abort();
    }
    if (message->terminated) {
      auto again = decode_session_message(encode_terminated(*message->terminated));
      if (!again || again->terminated != message->terminated) std::abort();
    }
    if (message->event_json && !decode_session_message(encode_event(*message->event_json)) &&
        encode_event(*message->event_json).size() <= kMaxReply) {
      std::abort();
    }
    if (message->summary && encode(*message->summary).size() > kMaxReply) std::abort();
  }
  return 0;
}
