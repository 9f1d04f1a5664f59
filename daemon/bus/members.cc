// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/members.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include "base/io.h"
#include "config.h"
#include "daemon/bus/rendering.h"
#include "daemon/bus/sd_bus.h"

namespace wrapd::daemon::bus {
namespace {

using namespace methods_of;  // NOLINT(google-build-using-namespace): the table names them all
using sdbus::Flags;

constexpr Authorisation kRead{.access = Access::read};
constexpr Authorisation kChange{.access = Access::change};
constexpr Authorisation kManageSessions{.access = Access::own_free, .others = "org.wrapd1.manage-sessions"};
constexpr Authorisation kApprove{
    .access = Access::polkit, .own = "org.wrapd1.approve-own", .others = "org.wrapd1.approve"};
constexpr Authorisation kReload{.access = Access::polkit, .own = "org.wrapd1.reload", .others = "org.wrapd1.reload"};

// A call that changes something looks at all threads of its caller; work is what takes a thread's time, or moves a
// policy's whole text.
constexpr double kLook = 1;
constexpr double kAct = 4;
constexpr double kWork = 8;
constexpr double kPerSession = 0.05;       // a row of a list
constexpr double kPerSessionObject = 0.5;  // an object with all its properties

// In bytes, on the safe side; the headers of a message included.
constexpr Load kSmall{.bytes = 512};
constexpr Load kConnection{.bytes = 1024, .descriptors = 1};
constexpr size_t kObject = 1536;         // with all its properties
constexpr size_t kRow = 512;             // of ListSessions
constexpr size_t kNode = 64;             // in an introspection
constexpr size_t kIntrospection = 8192;  // of one object
constexpr size_t kProperties = 6144;     // of one object, with a whole command

}  // namespace

std::span<const Method> methods() {
  static const Method kMethods[] = {
      // clang-format off
    // interface, name, in, names, out, names, authorisation, cost, per session, reply, find, run
    {kManagerInterface, "OpenSession", "a{sv}", {"options"}, "oha{sv}", {"session", "connection", "properties"},
     kChange, kWork, 0, kConnection, nullptr, open_session},
    {kManagerInterface, "ListSessions", "", {}, "a(souussststtb)", {"sessions"},
     kRead, kLook, kPerSession, kSmall, nullptr, list_sessions},
    {kManagerInterface, "GetSession", "s", {"id"}, "o", {"session"},
     kRead, kLook, 0, kSmall, nullptr, get_session},
    {kManagerInterface, "TerminateSession", "s", {"id"}, "", {},
     kManageSessions, kAct, 0, kSmall, find_session, terminate_session},
    {kManagerInterface, "TerminateUser", "u", {"uid"}, "u", {"count"},
     kManageSessions, kAct, kPerSession, kSmall, find_user, terminate_user},
    {kManagerInterface, "ListPolicies", "", {}, "a(ssssb)", {"policies"},
     kRead, kAct, 0, kSmall, nullptr, list_policies},
    {kManagerInterface, "DescribePolicy", "s", {"name"}, "sss", {"file", "mode", "text"},
     kRead, kWork, 0, kSmall, nullptr, describe_policy},
    {kManagerInterface, "CheckPolicy", "s", {"text"}, "as", {"problems"},
     kChange, kWork, 0, kSmall, nullptr, check_policy},
    {kManagerInterface, "TestPolicy", "sss", {"name", "operation", "target"}, "sss", {"decision", "rule", "guidance"},
     kRead, kWork, 0, kSmall, nullptr, test_policy},
    {kManagerInterface, "Reload", "", {}, "", {},
     kReload, kAct, 0, kSmall, nullptr, reload},
    {kManagerInterface, "ListApprovals", "", {}, "a(soussbsssusst)", {"approvals"},
     kRead, kLook, kPerSession, kSmall, nullptr, list_approvals},
    {kManagerInterface, "Approve", "s", {"id"}, "", {},
     kApprove, kAct, 0, kSmall, find_approval, approve},
    {kManagerInterface, "Deny", "s", {"id"}, "", {},
     kApprove, kAct, 0, kSmall, find_approval, deny},
    {kSessionInterface, "Terminate", "", {}, "", {},
     kManageSessions, kAct, 0, kSmall, find_own_path, terminate_own_path},
      // clang-format on
  };
  return kMethods;
}

std::span<const Property<ServiceApi>> manager_properties() {
  using Reply = sdbus::PropertyGetReply;
  static const Property<ServiceApi> kProperties[] = {
      {"Version", "s", Flags::CONST_PROPERTY_VALUE, [](const ServiceApi&, Reply& reply) { reply << WRAPD_VERSION; }},
      {"Features", "as", Flags::CONST_PROPERTY_VALUE,
       [](const ServiceApi& service, Reply& reply) { reply << service.features(); }},
      {"Sessions", "u", Flags::EMITS_NO_SIGNAL,
       [](const ServiceApi& service, Reply& reply) { reply << static_cast<uint32_t>(service.sessions().size()); }},
  };
  return kProperties;
}

std::span<const Property<SessionInfo>> session_properties() {
  using Reply = sdbus::PropertyGetReply;
  using Info = SessionInfo;
  static const Property<SessionInfo> kProperties[] = {
      {"Id", "s", Flags::CONST_PROPERTY_VALUE, [](const Info& info, Reply& reply) { reply << info.id; }},
      {"Uid", "u", Flags::CONST_PROPERTY_VALUE, [](const Info& info, Reply& reply) { reply << info.uid; }},
      {"Leader", "u", Flags::CONST_PROPERTY_VALUE,
       [](const Info& info, Reply& reply) { reply << process_number(info.leader); }},
      {"Policy", "s", Flags::CONST_PROPERTY_VALUE,
       [](const Info& info, Reply& reply) { reply << printable(info.policy); }},
      {"Stale", "b", Flags::EMITS_CHANGE_SIGNAL, [](const Info& info, Reply& reply) { reply << info.stale; }},
      {"Mode", "s", Flags::CONST_PROPERTY_VALUE, [](const Info& info, Reply& reply) { reply << printable(info.mode); }},
      {"State", "s", Flags::EMITS_CHANGE_SIGNAL,
       [](const Info& info, Reply& reply) { reply << std::string(to_string(info.state)); }},
      {"Since", "t", Flags::CONST_PROPERTY_VALUE,
       [](const Info& info, Reply& reply) { reply << microseconds_of(info.since); }},
      // With all objects and in signals it is as short as in a list.
      {"Command", "s", Flags::CONST_PROPERTY_VALUE,
       [](const Info& info, Reply& reply) {
         const bool whole = sd::is_in_call(sd::bus_of(reply), "org.freedesktop.DBus.Properties");
         reply << (whole ? printable(info.command) : shown_in_list(info.command));
       }},
      {"Allowed", "t", Flags::EMITS_NO_SIGNAL, [](const Info& info, Reply& reply) { reply << info.allowed; }},
      {"Denied", "t", Flags::EMITS_NO_SIGNAL, [](const Info& info, Reply& reply) { reply << info.denied; }},
  };
  return kProperties;
}

std::span<const SignalMember> signals() {
  static const SignalMember kSignals[] = {
      {kManagerInterface, "SessionNew", "so", {"id", "session"}},
      {kManagerInterface, "SessionRemoved", "so", {"id", "session"}},
      {kManagerInterface, "ApprovalRequested", "soa{sv}", {"id", "session", "details"}},
      {kManagerInterface, "ApprovalRemoved", "ss", {"id", "how"}},
      {kSessionInterface, "Denied", "ssbsust", {"operation", "target", "abstract", "rule", "pid", "comm", "count"}},
  };
  return kSignals;
}

double cost_of(const char* interface, const char* member, size_t sessions) {
  const auto count = static_cast<double>(sessions);
  const std::string_view name = member == nullptr ? "" : member;
  if (interface == nullptr) return kAct;  // any interface's: who calls like this does not look
  if (std::string_view(interface) == "org.freedesktop.DBus.ObjectManager") return kWork + kPerSessionObject * count;
  // The introspection of a parent lists its children.
  if (std::string_view(interface) == "org.freedesktop.DBus.Introspectable") return kLook + kPerSession * count;
  if (std::string_view(interface) == "org.freedesktop.DBus.Properties") return kLook;
  for (const Method& method : methods()) {
    if (name == method.name && std::string_view(interface) == method.interface) {
      return method.cost + method.cost_each * count;
    }
  }
  return kLook;
}

Load reply_of(const char* interface, const char* member, size_t sessions) {
  const std::string_view called = interface == nullptr ? "" : interface;
  const std::string_view name = member == nullptr ? "" : member;
  // Without an interface the member alone is looked for.
  const auto is = [&](std::string_view one) { return called.empty() || called == one; };
  if (is("org.freedesktop.DBus.ObjectManager") && name == "GetManagedObjects")
    return {.bytes = kObject * sessions + kSmall.bytes};
  if (is("org.freedesktop.DBus.Introspectable") && name == "Introspect")
    return {.bytes = kIntrospection + kNode * sessions};
  if (is("org.freedesktop.DBus.Properties") && (name == "Get" || name == "GetAll")) return {.bytes = kProperties};
  if (is(kManagerInterface) && name == "ListSessions") return {.bytes = kSmall.bytes + kRow * sessions};
  for (const Method& method : methods()) {
    if (name == method.name && is(method.interface)) return method.reply;
  }
  return kSmall;
}

}  // namespace wrapd::daemon::bus
