// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/statistics.h"

#include <utility>

#include "daemon/bus/no_throw.h"
#include "daemon/bus/sd_bus.h"

namespace wrapd::daemon::bus {
namespace {

using Answer = ConnectionStatistics::Answer;

Result<bool> read_size(size_t& size, sd_bus_message* value) {
  uint32_t number = 0;
  if (int rc = sd_bus_message_read_basic(value, SD_BUS_TYPE_UINT32, &number); rc <= 0) {
    return fail_errno("cannot read a number", rc == 0 ? ENXIO : -rc);
  }
  size = number;
  return true;
}

ConnectionStatistics read_statistics(const sdbus::Message& reply) {
  ConnectionStatistics out;
  size_t found = 0;
  auto read = sd::read_dictionary(
      sd::message_of(reply), [&](std::string_view key, std::string_view type, sd_bus_message* value) -> Result<bool> {
        size_t* size = key == "OutgoingBytes"   ? &out.unread.bytes
                       : key == "OutgoingFDs"   ? &out.unread.descriptors
                       : key == "IncomingBytes" ? &out.sent.bytes
                       : key == "IncomingFDs"   ? &out.sent.descriptors
                                                : nullptr;
        if (size == nullptr || type != "u") return false;
        ++found;
        return read_size(*size, value);
      });
  out.answer = read && found == 4 ? Answer::given : Answer::unavailable;
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
