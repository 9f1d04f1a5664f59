// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/bus.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "client/wrapctl/caller.h"

namespace wrapd::wrapctl {
namespace {

constexpr Target kBusItself{"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"};

BusError take(sd_bus_error& error) {
  BusError out{error.name != nullptr ? error.name : "", error.message != nullptr ? error.message : ""};
  ::sd_bus_error_free(&error);
  return out;
}

int read_into(sd_bus_message* message, std::string* text) {
  const char* value = nullptr;
  const int rc = ::sd_bus_message_read(message, "v", "s", &value);
  if (rc > 0) *text = value;
  return rc;
}
int read_into(sd_bus_message* message, bool* flag) {
  int value = 0;
  const int rc = ::sd_bus_message_read(message, "v", "b", &value);
  if (rc > 0) *flag = value != 0;
  return rc;
}
int read_into(sd_bus_message* message, uint32_t* number) {
  return ::sd_bus_message_read(message, "v", "u", number);
}
int read_into(sd_bus_message* message, uint64_t* number) {
  return ::sd_bus_message_read(message, "v", "t", number);
}

}  // namespace

int read_dictionary(sd_bus_message* message, const std::vector<Known>& known) {
  int rc = ::sd_bus_message_enter_container(message, 'a', "{sv}");
  while (rc > 0 && (rc = ::sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
    const char* key = nullptr;
    rc = ::sd_bus_message_read(message, "s", &key);
    if (rc <= 0) break;
    const auto found = std::ranges::find(known, std::string_view(key), &Known::key);
    rc = found == known.end() ? ::sd_bus_message_skip(message, "v")
                              : std::visit([message](auto* value) { return read_into(message, value); }, found->value);
    if (rc >= 0) rc = ::sd_bus_message_exit_container(message);
  }
  return rc < 0 ? rc : ::sd_bus_message_exit_container(message);
}

std::unexpected<BusError> bus_error(int negative_errno) {
  sd_bus_error error{};
  ::sd_bus_error_set_errno(&error, negative_errno);
  return std::unexpected(take(error));
}

BusResult<Bus> Bus::open_system() {
  Bus out;
  sd_bus* bus = nullptr;
  int rc = ::sd_bus_open_system(&bus);
  if ((rc == -EACCES || rc == -EPERM) && is_confined()) {
    return std::unexpected(BusError{"org.wrapd1.Error.Confined",
                                    "this is the inside of a wrapped session, or another sandbox; run it outside"});
  }
  if (rc < 0) return bus_error(rc);
  out.bus_.reset(bus);
  return out;
}

BusResult<Message> Bus::send(Message request, CallOptions options) {
  if (options.may_ask) {
    if (int rc = ::sd_bus_message_set_allow_interactive_authorization(request.get(), 1); rc < 0) return bus_error(rc);
  }
  sd_bus_error error{};
  sd_bus_message* reply = nullptr;
  auto usec = static_cast<uint64_t>(std::chrono::microseconds(options.timeout).count());
  int rc = ::sd_bus_call(bus_.get(), request.get(), usec, &error, &reply);
  Message owner(reply);
  if (rc >= 0) return owner;
  if (::sd_bus_error_is_set(&error) != 0) return std::unexpected(take(error));
  return bus_error(rc);
}

BusResult<Message> Bus::call(const Target& target, const char* member, CallOptions options) {
  return call(target, member, options, "");
}

BusResult<std::string> Bus::owner_of(const char* name) {
  auto reply = call(kBusItself, "GetNameOwner", {}, "s", name);
  if (!reply) return std::unexpected(reply.error());
  const char* owner = nullptr;
  if (auto done = read(*reply, "s", &owner); !done) return std::unexpected(done.error());
  return std::string(owner);
}

BusResult<bool> Bus::can_be_activated(const char* name) {
  auto reply = call(kBusItself, "ListActivatableNames");
  if (!reply) return std::unexpected(reply.error());
  int rc = ::sd_bus_message_enter_container(reply->get(), 'a', "s");
  if (rc < 0) return bus_error(rc);
  const char* entry = nullptr;
  while ((rc = ::sd_bus_message_read(reply->get(), "s", &entry)) > 0) {
    if (std::strcmp(entry, name) == 0) return true;
  }
  if (rc < 0) return bus_error(rc);
  return false;
}

BusResult<std::string> Bus::string_property(const Target& target, const char* property) {
  auto reply = call({target.service, target.path, "org.freedesktop.DBus.Properties"}, "Get", {}, "ss", target.interface,
                    property);
  if (!reply) return std::unexpected(reply.error());
  const char* value = nullptr;
  if (auto done = read(*reply, "v", "s", &value); !done) return std::unexpected(done.error());
  return std::string(value);
}

}  // namespace wrapd::wrapctl
