// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/statistics.h"

#include <map>
#include <string_view>
#include <utility>

#include "daemon/bus/no_throw.h"

namespace wrapd::daemon::bus {
namespace {

using Answer = ConnectionStatistics::Answer;

ConnectionStatistics read_statistics(sdbus::Message& reply) {
  std::map<std::string, sdbus::Variant> counts;
  if (!no_throw("what was read", [&] { reply >> counts; })) return {.answer = Answer::unavailable};
  ConnectionStatistics out{.answer = Answer::given};
  const auto read = [&](const char* key, size_t& size) {
    const auto found = counts.find(key);
    if (found == counts.end() || std::string_view(found->second.peekValueType()) != "u") {
      out.answer = Answer::unavailable;
    } else {
      size = found->second.get<uint32_t>();
    }
  };
  read("OutgoingBytes", out.unread.bytes);
  read("OutgoingFDs", out.unread.descriptors);
  read("IncomingBytes", out.sent.bytes);
  read("IncomingFDs", out.sent.descriptors);
  return out;
}

Answer answer_of(const sdbus::Error& error) {
  const std::string& name = error.getName();
  if (name == "org.freedesktop.DBus.Error.NameHasNoOwner") return Answer::gone;
  if (name == "org.freedesktop.DBus.Error.NoReply" || name == "org.freedesktop.DBus.Error.Timeout" ||
      name == "System.Error.ETIMEDOUT") {
    return Answer::late;
  }
  for (const char* refused : {"UnknownMethod", "UnknownInterface", "UnknownObject", "AccessDenied", "NotSupported"}) {
    if (name == std::string("org.freedesktop.DBus.Error.") + refused) return Answer::unavailable;
  }
  return Answer::failed;
}

}  // namespace

void Statistics::ask(const std::string& client, std::function<void(const ConnectionStatistics&)> done) {
  const bool sent = no_throw("asking the bus what was read", [&] {
    auto call = compat::method_call(driver_, "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats");
    call << client;
    compat::call_async(
        driver_, call,
        [done](sdbus::MethodReply& reply, const sdbus::Error* error) {
          no_throw("what was read", [&] {
            done(error == nullptr ? read_statistics(reply) : ConnectionStatistics{.answer = answer_of(*error)});
          });
        },
        kTimeout);
  });
  if (!sent) done({});
}

}  // namespace wrapd::daemon::bus
