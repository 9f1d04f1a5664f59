// SPDX-License-Identifier: Apache-2.0
#include "daemon/bus/members.h"

#include <algorithm>
#include <chrono>
#include <string_view>

namespace wrapd::daemon::bus {
namespace {

using namespace methods_of;  // NOLINT(google-build-using-namespace): the table names them all

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
constexpr size_t kRow = 1024;            // of ListSessions
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
    {kManagerInterface, "ListSessions", "", {}, "a(soa{sv})", {"sessions"},
     kRead, kLook, kPerSession, kSmall, nullptr, list_sessions},
    {kManagerInterface, "GetSession", "s", {"id"}, "o", {"session"},
     kRead, kLook, 0, kSmall, nullptr, get_session},
    {kManagerInterface, "TerminateSession", "s", {"id"}, "", {},
     kManageSessions, kAct, 0, kSmall, find_session, terminate_session},
    {kManagerInterface, "TerminateUser", "u", {"uid"}, "u", {"count"},
     kManageSessions, kAct, kPerSession, kSmall, find_user, terminate_user},
    {kManagerInterface, "ListPolicies", "", {}, "a(sa{sv})", {"policies"},
     kRead, kAct, 0, kSmall, nullptr, list_policies},
    {kManagerInterface, "DescribePolicy", "s", {"name"}, "a{sv}", {"details"},
     kRead, kWork, 0, kSmall, nullptr, describe_policy},
    {kManagerInterface, "CheckPolicy", "s", {"text"}, "as", {"problems"},
     kChange, kWork, 0, kSmall, nullptr, check_policy},
    {kManagerInterface, "TestPolicy", "sss", {"name", "operation", "target"}, "a{sv}", {"verdict"},
     kRead, kWork, 0, kSmall, nullptr, test_policy},
    {kManagerInterface, "Reload", "", {}, "", {},
     kReload, kAct, 0, kSmall, nullptr, reload},
    {kManagerInterface, "ListApprovals", "", {}, "a(soa{sv})", {"approvals"},
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

std::span<const SignalMember> signals() {
  static const SignalMember kSignals[] = {
      {kManagerInterface, "SessionNew", "soa{sv}", {"id", "session", "details"}},
      {kManagerInterface, "SessionRemoved", "soa{sv}", {"id", "session", "details"}},
      {kManagerInterface, "ApprovalRequested", "soa{sv}", {"id", "session", "details"}},
      {kManagerInterface, "ApprovalRemoved", "soa{sv}", {"id", "session", "details"}},
      {kSessionInterface, "Denied", "a{sv}", {"details"}},
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
