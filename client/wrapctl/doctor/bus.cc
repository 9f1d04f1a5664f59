// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/bus.h"

#include <optional>
#include <set>
#include <string>

#include "client/wrapctl/doctor/probe.h"
#include "client/wrapctl/explain.h"
#include "client/wrapctl/service.h"
#include "client/wrapctl/text.h"
#include "config.h"

namespace wrapd::wrapctl::doctor {
namespace {

constexpr const char* kStartBus = "systemctl start dbus; without the bus wrap works, wrapctl and approvals do not";
constexpr const char* kPolkitName = "org.freedesktop.PolicyKit1";
constexpr Target kAuthority{kPolkitName, "/org/freedesktop/PolicyKit1/Authority",
                            "org.freedesktop.PolicyKit1.Authority"};
constexpr Target kSystemd{"org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"};

// org.wrapd1.policy of polkit.
constexpr const char* kActions[] = {"org.wrapd1.manage-sessions", "org.wrapd1.approve-own", "org.wrapd1.approve",
                                    "org.wrapd1.reload"};

Finding no_bus(const BusError& error) {
  return failed(explain(error, "no system bus").message, kStartBus);
}

// Owned now, or there to be started.
BusResult<bool> available(Bus& bus, const char* name) {
  if (bus.owner_of(name)) return true;
  return bus.can_be_activated(name);
}

// The ids of all of polkit's actions: EnumerateActions(locale) -> a(ssssssuuua{ss}).
BusResult<std::set<std::string>> actions(Bus& bus) {
  auto reply = bus.call(kAuthority, "EnumerateActions", {}, "s", "");
  if (!reply) return std::unexpected(reply.error());
  sd_bus_message* m = reply->get();
  int rc = ::sd_bus_message_enter_container(m, 'a', "(ssssssuuua{ss})");
  std::set<std::string> out;
  while (rc >= 0) {
    rc = ::sd_bus_message_enter_container(m, 'r', "ssssssuuua{ss}");
    if (rc == 0) return out;
    const char* id = nullptr;
    if (rc >= 0) rc = ::sd_bus_message_read(m, "s", &id);
    if (rc >= 0) out.insert(id);
    if (rc >= 0) rc = ::sd_bus_message_skip(m, "sssssuuua{ss}");
    if (rc >= 0) rc = ::sd_bus_message_exit_container(m);
  }
  return bus_error(rc);
}

struct UnitState {
  std::string enabled;  // enabled, static, disabled, masked, ...
  std::string active;   // active, inactive, failed, ...
};

BusResult<UnitState> unit_state(Bus& bus, const char* unit) {
  UnitState out;
  auto reply = bus.call(kSystemd, "GetUnitFileState", {}, "s", unit);
  if (!reply) return std::unexpected(reply.error());
  const char* text = nullptr;
  if (auto done = read(*reply, "s", &text); !done) return std::unexpected(done.error());
  out.enabled = text;
  reply = bus.call(kSystemd, "LoadUnit", {}, "s", unit);
  if (!reply) return std::unexpected(reply.error());
  const char* path = nullptr;
  if (auto done = read(*reply, "o", &path); !done) return std::unexpected(done.error());
  const std::string object = path;
  auto active = bus.string_property({kSystemd.service, object.c_str(), "org.freedesktop.systemd1.Unit"}, "ActiveState");
  if (!active) return std::unexpected(active.error());
  out.active = std::move(*active);
  return out;
}

}  // namespace

Finding probe_bus() {
  auto bus = Bus::open_system();
  if (!bus) return no_bus(bus.error());
  if (auto owner = bus->owner_of("org.freedesktop.DBus"); !owner) return no_bus(owner.error());
  return ok("the system bus answers");
}

Finding probe_api() {
  auto service = Service::connect();
  if (!service) return failed(service.error().message, kStartBus);
  auto version = service->version();
  if (!version) return failed(version.error().message, "wrap works without, wrapctl and approvals do not");
  if (*version != WRAPD_VERSION) {
    return failed("the service is version " + safe_text(*version) + ", wrapctl is " WRAPD_VERSION,
                  "systemctl restart wrapd (no session is lost)");
  }
  return ok("org.wrapd1 answers, version " WRAPD_VERSION);
}

Finding probe_polkit() {
  constexpr const char* kInUse =
      ": root may do everything, users may look and end their own sessions, nobody can approve";
  auto bus = Bus::open_system();
  if (!bus) return no_bus(bus.error());
  auto there = available(*bus, kPolkitName);
  if (!there) return no_bus(there.error());
  if (!*there)
    return fallback(std::string("polkit is not installed") + kInUse, "install polkitd if users shall approve");
  auto known = actions(*bus);
  if (!known)
    return fallback(explain(known.error(), "polkit does not answer").message + kInUse, "systemctl status polkit");
  std::string missing;
  for (const char* action : kActions) {
    if (!known->contains(action)) missing += std::string(missing.empty() ? "" : ", ") + action;
  }
  if (!missing.empty()) {
    return failed("polkit does not know " + missing, "install org.wrapd1.policy in /usr/share/polkit-1/actions");
  }
  return ok("polkit answers and knows the actions of org.wrapd1");
}

Finding probe_units() {
  auto bus = Bus::open_system();
  if (!bus) return no_bus(bus.error());
  auto there = available(*bus, kSystemd.service);
  if (!there) return no_bus(there.error());
  if (!*there) return fallback("systemd does not run here: whatever started the service must restart it", "");
  auto socket = unit_state(*bus, "wrapd.socket");
  if (!socket) return failed(explain(socket.error(), "wrapd.socket").message, "install the package's units");
  auto service = unit_state(*bus, "wrapd.service");
  if (!service) return failed(explain(service.error(), "wrapd.service").message, "install the package's units");
  const std::string detail = "wrapd.socket is " + safe_text(socket->enabled) + " and " + safe_text(socket->active) +
                             ", wrapd.service is " + safe_text(service->active);
  if (socket->active != "active") return failed(detail, "systemctl enable --now wrapd.socket");
  if (service->active == "failed") return failed(detail, "systemctl status wrapd.service; journalctl -u wrapd");
  if (socket->enabled != "enabled") {
    return fallback(detail + ": it will not be there after a reboot", "systemctl enable wrapd.socket");
  }
  return ok(detail);
}

}  // namespace wrapd::wrapctl::doctor
