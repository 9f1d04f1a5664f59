// SPDX-License-Identifier: Apache-2.0
#include "client/wrapctl/explain.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "client/wrapctl/text.h"

namespace wrapd::wrapctl {
namespace {

struct Explanation {
  std::string_view name;
  std::string_view what;  // empty: the error's own message says it
  std::string_view advice;
};

// The service's own errors say themselves what to do where they can; then the advice is not needed.
constexpr Explanation kExplanations[] = {
    {"org.wrapd1.Error.NoSuchSession", "", "wrapctl list shows the sessions there are"},
    {"org.wrapd1.Error.NoSuchPolicy", "", "wrapctl policy list shows the policies that you may use"},
    {"org.wrapd1.Error.NoSuchApproval", "", "it was answered or ran out of time; wrapctl approvals shows what waits"},
    {"org.wrapd1.Error.NotPermitted", "", "the administrator says who may what in wrapd.yaml"},
    {"org.wrapd1.Error.InvalidArgument", "", "see wrapctl --help"},
    {"org.wrapd1.Error.InvalidPolicy", "", "what was in force stays in force; correct the file and try again"},
    {"org.wrapd1.Error.LimitExceeded", "", "wait until something has ended, and try again"},
    {"org.wrapd1.Error.Confined", "", "run it outside of the sandbox"},
    {"org.wrapd1.Error.NotAuthorized", "", "ask an administrator, or run it as root"},
    {"org.wrapd1.Error.AuthorizationRequired", "",
     "run it on a terminal and without --no-ask-password, so that you can be asked, or as root"},
    {"org.wrapd1.Error.AuthorizationDismissed", "", "the question was turned away; try again, or run it as root"},
    {"org.wrapd1.Error.AuthorizationUnavailable", "", "only root may without polkit; is polkit.service running?"},
    {"org.wrapd1.Error.AuthorizationTimeout", "", "nobody answered the question; try again"},
    {"org.wrapd1.Error.Internal", "", "see journalctl -u wrapd"},
    {"org.freedesktop.DBus.Error.ServiceUnknown", "nothing on the system bus offers org.wrapd1",
     "start the service (systemctl start wrapd), or install it"},
    {"org.freedesktop.DBus.Error.NameHasNoOwner", "the service is not running", "systemctl start wrapd"},
    {"org.freedesktop.DBus.Error.AccessDenied", "the bus's policy refuses it",
     "is org.wrapd1.conf installed in /usr/share/dbus-1/system.d?"},
    {"org.freedesktop.DBus.Error.NoReply", "the service did not answer",
     "it ended or hangs: systemctl status wrapd, journalctl -u wrapd"},
    {"org.freedesktop.DBus.Error.Timeout", "no answer in time", "systemctl status wrapd, journalctl -u wrapd"},
    {"org.freedesktop.DBus.Error.TimedOut", "the service could not be started in time",
     "systemctl status wrapd, journalctl -u wrapd"},
    {"org.freedesktop.DBus.Error.UnknownMethod", "the service does not know this",
     "it is of another version: systemctl restart wrapd"},
    {"org.freedesktop.DBus.Error.UnknownInterface", "the service does not know this",
     "it is of another version: systemctl restart wrapd"},
    {"org.freedesktop.DBus.Error.UnknownObject", "", "it may have ended meanwhile; wrapctl list shows what is there"},
    {"org.freedesktop.DBus.Error.InvalidArgs", "", "is the service of another version? systemctl restart wrapd"},
    {"org.freedesktop.DBus.Error.LimitsExceeded", "", "the bus or the service is overloaded; try again"},
    {"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "",
     "run it on a terminal and without --no-ask-password, so that you can be asked, or as root"},
    {"org.freedesktop.DBus.Error.Disconnected", "the bus closed the connection", "try again"},
    {"org.freedesktop.DBus.Error.FileNotFound", "there is no system bus", "systemctl start dbus"},
    {"System.Error.ENOENT", "there is no system bus", "systemctl start dbus"},
    {"System.Error.ECONNREFUSED", "nobody serves the system bus", "systemctl start dbus"},
    {"System.Error.ECONNRESET", "the bus closed the connection", "try again"},
    {"System.Error.ENOTCONN", "the bus closed the connection", "try again"},
    {"System.Error.EBADMSG", "the service's answer has another form than ours",
     "it is of another version: systemctl restart wrapd"},
    {"System.Error.ENXIO", "the service's answer has another form than ours",
     "it is of another version: systemctl restart wrapd"},
};

}  // namespace

BusError explain(const BusError& error, std::string_view context) {
  const auto* known = std::ranges::find(kExplanations, std::string_view(error.name), &Explanation::name);
  BusError out{error.name, std::string(context) + ": "};
  std::string own = safe_text(error.message);
  bool found = known != std::end(kExplanations);
  if (found && !known->what.empty()) {
    out.message += known->what;
  } else {
    out.message += own.empty() ? safe_text(error.name) : own;
    if (own.find("; ") != std::string::npos) return out;
  }
  if (found) {
    out.message += "; " + std::string(known->advice);
  } else if (error.name.starts_with("org.freedesktop.systemd1.") ||
             error.name.starts_with("org.freedesktop.DBus.Error.Spawn.")) {
    out.message += "; the service could not be started: systemctl status wrapd";
  } else {
    out.message += " (" + safe_text(error.name) + "); see journalctl -u wrapd";
  }
  return out;
}

}  // namespace wrapd::wrapctl
