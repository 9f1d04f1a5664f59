# SPDX-License-Identifier: Apache-2.0
"""The service's side of org.wrapd1 as a client sees it, from the documented XML: GDBus checks every argument against it.

Runs on the bus of DBUS_SYSTEM_BUS_ADDRESS. What it holds is a JSON document of its first argument; it is steered by lines
of JSON on its stdin ({"emit": ..., "state": ...}), answers each with a line, and reports every call on stdout.
"""
import json
import os
import sys

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

NAME = "org.wrapd1"
MANAGER = "org.wrapd1.Manager"
ROOT = "/org/wrapd1"

SESSION = {"Uid": "u", "Leader": "u", "Policy": "s", "Mode": "s", "State": "s", "Since": "t", "Command": "s",
           "Allowed": "t", "Denied": "t", "Stale": "b"}
POLICY = {"file": "s", "mode": "s", "problem": "s", "default": "b"}
APPROVAL = {"uid": "u", "operation": "s", "target": "s", "abstract": "b", "rule": "s", "policy": "s", "guidance": "s",
            "pid": "u", "comm": "s", "exe": "s", "deadline": "t"}


def dictionary(types, facts):
    """An a{sv}. A newer service has more keys."""
    return {"Later": GLib.Variant("(sav)", ("x", [])),
            **{key: GLib.Variant(facts.get("types", {}).get(key, kind), facts[key.lower()])
               for key, kind in types.items()}}


def say(**line):
    print(json.dumps(line), flush=True)


class Failure(Exception):
    def __init__(self, name, message):
        super().__init__(message)
        self.name = name if "." in name else f"org.wrapd1.Error.{name}"


class Service:
    def __init__(self, state):
        self.state = {"version": "0.1.0", "sessions": [], "policies": [], "approvals": [], "errors": {}, **state}

    def find(self, kind, id, error):
        for entry in self.state[kind]:
            if entry["id"] == id:
                return entry
        raise Failure(error, f"no {kind[:-1]} {id}")

    # One method for each of the Manager's.

    def ListSessions(self):
        return "(a(soa{sv}))", ([(s["id"], s["object"], dictionary(SESSION, s)) for s in self.state["sessions"]],)

    def TerminateSession(self, id):
        self.state["sessions"].remove(self.find("sessions", id, "NoSuchSession"))
        return "()", ()

    def TerminateUser(self, uid):
        mine = [s for s in self.state["sessions"] if s["uid"] == uid]
        for session in mine:
            self.state["sessions"].remove(session)
        return "(u)", (len(mine),)

    def ListPolicies(self):
        return "(a(sa{sv}))", ([(p["name"], dictionary(POLICY, p)) for p in self.state["policies"]],)

    def DescribePolicy(self, name):
        for policy in self.state["policies"]:
            if policy["name"] == name:
                return "(a{sv})", (dictionary({"file": "s", "mode": "s", "text": "s"}, policy),)
        raise Failure("NoSuchPolicy", f"no policy {name}")

    def Reload(self):
        return "()", ()

    def ListApprovals(self):
        return "(a(soa{sv}))", ([(a["id"], a["session"], dictionary(APPROVAL, a)) for a in self.state["approvals"]],)

    def Approve(self, id):
        self.state["approvals"].remove(self.find("approvals", id, "NoSuchApproval"))
        return "()", ()

    Deny = Approve

    def call(self, connection, sender, path, interface, method, parameters, invocation):
        message = invocation.get_message()
        interactive = bool(message.get_flags() & Gio.DBusMessageFlags.ALLOW_INTERACTIVE_AUTHORIZATION)
        say(call=method, arguments=parameters.unpack(), interactive=interactive)
        try:
            if method in self.state.get("hang", []):
                return
            error = self.state["errors"].get(method)
            if error == "exit":
                os._exit(0)
            if error:
                raise Failure(*error)
            signature, values = getattr(self, method)(*parameters.unpack())
            invocation.return_value(GLib.Variant(signature, values))
        except Failure as failure:
            invocation.return_dbus_error(failure.name, str(failure))

    def property(self, connection, sender, path, interface, name):
        return {"Version": GLib.Variant("s", self.state["version"]), "Features": GLib.Variant("as", []),
                "Sessions": GLib.Variant("u", len(self.state["sessions"]))}[name]


def main():
    state = json.loads(sys.argv[1])
    service = Service(state)
    info = Gio.DBusNodeInfo.new_for_xml(open(os.environ["WRAPD_TEST_XML"]).read())
    flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    bus = Gio.DBusConnection.new_for_address_sync(os.environ["DBUS_SYSTEM_BUS_ADDRESS"], flags, None, None)
    bus.set_exit_on_close(True)
    bus.register_object(ROOT, info.lookup_interface(MANAGER), service.call, service.property, None)

    def own(acquire):
        member, signature, arguments = (("RequestName", "(su)", (NAME, 4)) if acquire else ("ReleaseName", "(s)", (NAME,)))
        bus.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member,
                      GLib.Variant(signature, arguments), None, Gio.DBusCallFlags.NONE, -1, None)

    def emit(path, interface, member, signature, arguments, destination=None):
        arguments = [{key: GLib.Variant(*value) for key, value in a.items()} if isinstance(a, dict) else a
                     for a in arguments]
        bus.emit_signal(destination, path, interface, member, GLib.Variant(signature, tuple(arguments)))
        bus.flush_sync(None)

    def on_line(channel, condition):
        line = sys.stdin.readline()
        if not line:
            loop.quit()
            return False
        order = json.loads(line)
        service.state.update(order.get("state", {}))
        if "own" in order:
            own(order["own"])
        if "emit" in order:
            emit(**order["emit"])
        say(done=True)
        return True

    if state.get("own", True):
        own(True)
    GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, on_line)
    loop = GLib.MainLoop()
    say(ready=True)
    loop.run()


main()
