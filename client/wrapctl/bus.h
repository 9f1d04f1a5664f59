// SPDX-License-Identifier: Apache-2.0
#pragma once

// What wrapctl needs of sd-bus(3), with owners. Not sdbus-c++: that has no way to mark a call as one that may ask a
// person, its two major versions differ, and libsystemd is linked for the journal anyway.

#include <systemd/sd-bus.h>

#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace wrapd::wrapctl {

// `name`: the D-Bus error's; for what failed without one "System.Error.ENOENT" and the like (sd_bus_error_set_errno).
struct BusError {
  std::string name;
  std::string message;
};
template <class T = void>
using BusResult = std::expected<T, BusError>;

// The error for a negative errno value, as sd-bus names it.
[[nodiscard]] std::unexpected<BusError> bus_error(int negative_errno);

struct MessageUnref {
  void operator()(sd_bus_message* message) const noexcept { ::sd_bus_message_unref(message); }
};
using Message = std::unique_ptr<sd_bus_message, MessageUnref>;

struct BusClose {
  void operator()(sd_bus* bus) const noexcept { ::sd_bus_flush_close_unref(bus); }
};

// Where a method is.
struct Target {
  const char* service;
  const char* path;
  const char* interface;
};

struct CallOptions {
  std::chrono::seconds timeout{25};
  bool may_ask = false;  // ALLOW_INTERACTIVE_AUTHORIZATION: the service may have polkit ask a person
};

class Bus {
 public:
  // The system bus; DBUS_SYSTEM_BUS_ADDRESS names another.
  [[nodiscard]] static BusResult<Bus> open_system();

  // Calls and waits. `types` and `arguments` as for sd_bus_message_append(3).
  template <class... Arguments>
  [[nodiscard]] BusResult<Message> call(const Target& target, const char* member, CallOptions options,
                                        const char* types, Arguments... arguments) {
    sd_bus_message* request = nullptr;
    int rc =
        ::sd_bus_message_new_method_call(bus_.get(), &request, target.service, target.path, target.interface, member);
    Message owner(request);
    if (rc >= 0) rc = ::sd_bus_message_append(request, types, arguments...);
    if (rc < 0) return bus_error(rc);
    return send(std::move(owner), options);
  }
  [[nodiscard]] BusResult<Message> call(const Target& target, const char* member, CallOptions options = {});

  // Asks the bus itself.
  [[nodiscard]] BusResult<std::string> owner_of(const char* name);
  [[nodiscard]] BusResult<bool> can_be_activated(const char* name);
  // A property that is a string.
  [[nodiscard]] BusResult<std::string> string_property(const Target& target, const char* property);

  [[nodiscard]] sd_bus* get() const noexcept { return bus_.get(); }

 private:
  [[nodiscard]] BusResult<Message> send(Message request, CallOptions options);
  std::unique_ptr<sd_bus, BusClose> bus_;
};

// Reads a basic value or a fixed structure; `types` as for sd_bus_message_read(3).
template <class... Values>
[[nodiscard]] BusResult<> read(const Message& message, const char* types, Values*... values) {
  int rc = ::sd_bus_message_read(message.get(), types, values...);
  if (rc < 0) return bus_error(rc);
  if (rc == 0) return bus_error(-EBADMSG);
  return {};
}

// A key of a dictionary, and where its value goes.
struct Known {
  std::string_view key;
  std::variant<std::string*, bool*, uint32_t*, uint64_t*> value;
};
// Reads an a{sv}; gives sd_bus_message_read()'s result. Keys that are not known are passed over; a value of another
// type than the key's is an error (-ENXIO).
[[nodiscard]] int read_dictionary(sd_bus_message* message, const std::vector<Known>& known);

}  // namespace wrapd::wrapctl
