// SPDX-License-Identifier: Apache-2.0
#pragma once

// sd-bus(3) itself, where sdbus-c++ has nothing: the interactive flag, descriptors that are CLOEXEC from birth, a look
// at messages before they are dispatched, a match that does not wait. One thread; nothing here waits.

#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace wrapd::daemon::bus::sd {

struct Unref {
  void operator()(sd_bus_message* message) const noexcept { sd_bus_message_unref(message); }
};
using MessageRef = std::unique_ptr<sd_bus_message, Unref>;

// Borrowed, for as long as `message` lives.
[[nodiscard]] sd_bus_message* message_of(const sdbus::Message& message) noexcept;
// Borrowed: the connection that `message` belongs to.
[[nodiscard]] sd_bus* bus_of(const sdbus::Message& message) noexcept;

// The header's ALLOW_INTERACTIVE_AUTHORIZATION flag.
[[nodiscard]] bool allows_interaction(const sdbus::Message& message) noexcept;

// Reads the next argument, an a{sv}. `entry` gets each key and the value's type, and reads the one value of that type
// from `value` (true), leaves it unread (false), or ends the reading.
using DictionaryEntry = std::function<Result<bool>(std::string_view key, std::string_view type, sd_bus_message* value)>;
[[nodiscard]] Result<> read_dictionary(sd_bus_message* message, const DictionaryEntry& entry);
// For entries: reads a value whose `type` is that of `to`; false: it has another one. A descriptor is the reader's own.
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, std::string& to);
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, bool& to);
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, uint32_t& to);
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, std::vector<uint32_t>& to);
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, std::vector<std::string>& to);
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, UniqueFd& to);
template <class To>
[[nodiscard]] Result<bool> read_value(sd_bus_message* value, std::string_view type, std::optional<To>& to) {
  To read{};
  auto done = read_value(value, type, read);
  if (done && *done) to = std::move(read);
  return done;
}

// What path and arguments of a message take, if that is at most `limit` bytes, where each value counts 64 at least:
// looking at it costs more than copying it. Rewinds the message.
[[nodiscard]] std::optional<size_t> size_of_arguments(sd_bus_message* message, size_t limit) noexcept;

// Messages that the bus has not taken from us yet.
[[nodiscard]] uint64_t unsent(sd_bus* bus) noexcept;
// Something of the bus lies there that we have not looked at yet.
[[nodiscard]] bool has_unread(sd_bus* bus) noexcept;
// True while sd-bus lets somebody handle this member of this interface: a property's getter can tell who asks for it.
[[nodiscard]] bool is_in_call(sd_bus* bus, const char* interface) noexcept;

// Answers a method call with an error, unless no answer is wanted.
[[nodiscard]] Result<> reply_error(sd_bus_message* call, const char* name, const std::string& message) noexcept;

// False for a call of org.freedesktop.DBus.Peer.GetMachineId on a machine that has no id: sd-bus would not answer it
// but end the connection.
[[nodiscard]] bool is_answerable(sd_bus_message* call) noexcept;

// Sends a method call and wants no answer.
[[nodiscard]] Result<> send_only(const sdbus::MethodCall& call) noexcept;

// Has the message dispatched again, from the start, in a later turn of the loop.
[[nodiscard]] Result<> dispatch_again(sd_bus* bus, sd_bus_message* message) noexcept;

// A registration with sd-bus that ends with this object.
class Registration {
 public:
  using Handler = std::function<bool(sd_bus_message*)>;

  Registration() noexcept;
  Registration(Registration&&) noexcept;
  Registration& operator=(Registration&&) noexcept;
  ~Registration();

  // `handler` sees every message before anybody else, but replies to our own calls; true: it is dealt with.
  [[nodiscard]] static Result<Registration> filter(sd_bus* bus, Handler handler);
  // `gone` is called once when `unique_name` leaves the bus, or with an error when the bus does not take the match.
  [[nodiscard]] static Result<Registration> name_gone(sd_bus* bus, const std::string& unique_name,
                                                      const std::function<void(Result<>)>& gone);
  // `changed` is called for each name that comes to the bus (true) or leaves it, once `installed` was called without an
  // error.
  [[nodiscard]] static Result<Registration> all_names(sd_bus* bus,
                                                      std::function<void(std::string_view name, bool there)> changed,
                                                      std::function<void(Result<>)> installed);

 private:
  [[nodiscard]] static Result<Registration> match(sd_bus* bus, const std::string& rule, Handler handler,
                                                  std::function<void(Result<>)> installed);
  struct State;
  std::shared_ptr<State> state_;
};

// Closes the connection without waiting for anything to be written.
void close(sd_bus* bus) noexcept;

// True for sd-bus's own notice that the connection has ended; nobody on the bus can send it.
[[nodiscard]] bool is_disconnect(sd_bus_message* message) noexcept;

}  // namespace wrapd::daemon::bus::sd
