# SPDX-License-Identifier: Apache-2.0
"""What is there to see: the documented interfaces, objects, properties and signals."""

import xml.etree.ElementTree as ElementTree

import pytest

from lib import dbus
from lib.bus import OTHER, OWNER, QUESTION, ROOT, SESSION, session_path


def members(interface):
    """An interface as plain values, without the order of its members."""
    out = {}
    for member in interface:
        if member.tag is ElementTree.Comment:
            continue
        args = [(a.get("name"), a.get("type"), a.get("direction", "in" if member.tag == "method" else "out"))
                for a in member.findall("arg")]
        notes = sorted((a.get("name"), a.get("value")) for a in member.findall("annotation"))
        key = (member.tag, member.get("name"))
        assert key not in out
        out[key] = (member.get("type"), member.get("access"), args, notes)
    return out


def introspect(client, path):
    text = client.call("org.wrapd1", path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
    return ElementTree.fromstring(text[text.index("<node"):])


def test_the_documented_interfaces_are_the_offered_ones(machine):
    machine.service.order(f"add {SESSION} {OWNER} x")
    documented = {i.get("name"): members(i)
                  for i in ElementTree.parse(ROOT / "docs/org.wrapd1.xml").getroot().findall("interface")}
    offered = {}
    for path in ("/org/wrapd1", session_path(SESSION)):
        for interface in introspect(machine.client(OTHER), path).findall("interface"):
            if interface.get("name").startswith("org.wrapd1"):
                offered[interface.get("name")] = members(interface)
    assert offered == documented


def test_the_bus_policy_lists_what_is_documented_and_nothing_else():
    documented = {(i.get("name"), m.get("name"))
                  for i in ElementTree.parse(ROOT / "docs/org.wrapd1.xml").getroot().findall("interface")
                  for m in i.findall("method")}
    default = ElementTree.parse(ROOT / "daemon/bus/data/org.wrapd1.conf").getroot().find("policy[@context='default']")
    allowed = {(a.get("send_interface"), a.get("send_member")) for a in default if a.tag == "allow"}
    assert all(a.get("send_destination") == "org.wrapd1" for a in default)
    assert [a.get("send_type") for a in default if a.tag == "deny"] == ["signal"] and default[-1].tag == "deny"
    last = ElementTree.parse(ROOT / "daemon/bus/data/org.wrapd1.conf").getroot().find("policy[@context='mandatory']")
    assert [(a.tag, a.get("send_destination"), a.get("min_fds")) for a in last] == [("deny", "org.wrapd1", "1")]
    assert {a for a in allowed if a[0].startswith("org.wrapd1")} == documented


def listen(client):
    client.driver("AddMatch", "s", ["type='signal',sender='org.wrapd1'"])


def test_a_session_from_its_beginning_to_its_end(machine):
    client = machine.client(OTHER)
    listen(client)
    machine.service.order(f"add {SESSION} {OWNER} ls \x07\xff")
    added = client.signal("InterfacesAdded")
    assert added.path == "/org/wrapd1" and added.body[0] == session_path(SESSION)
    properties = added.body[1]["org.wrapd1.Session"]
    assert properties["Uid"] == OWNER and properties["State"] == "running" and properties["Id"] == SESSION
    assert properties["Command"].startswith("ls \\x07")
    assert client.signal("SessionNew").body == [SESSION, session_path(SESSION)]
    assert client.manager("GetSession", "s", [SESSION]) == [session_path(SESSION)]

    machine.service.order(f"count {SESSION}")
    machine.service.order(f"stale {SESSION}")
    changed = client.signal("PropertiesChanged")  # of the counter there is none
    assert changed.path == session_path(SESSION)
    assert changed.body == ["org.wrapd1.Session", {"Stale": True}, []]
    machine.service.order(f"denied {SESSION} /run/\x1bx")
    denied = client.signal("Denied")
    assert denied.path == session_path(SESSION)
    assert denied.body == ["connect", "/run/\\x1bx", False, "no", 7, "cat\\x0a", 3]
    get = ("org.wrapd1", session_path(SESSION), "org.freedesktop.DBus.Properties", "Get", "ss")
    assert client.call(*get, ["org.wrapd1.Session", "Denied"]) == [1]

    machine.watcher.manager("TerminateSession", "s", [SESSION])
    assert client.signal("PropertiesChanged").body[1] == {"State": "terminating"}
    machine.service.order(f"remove {SESSION}")
    assert client.signal("InterfacesRemoved").body == [session_path(SESSION), ["org.wrapd1.Session"]]
    assert client.signal("SessionRemoved").body == [SESSION, session_path(SESSION)]
    with pytest.raises(dbus.Failure) as failed:
        client.call(*get, ["org.wrapd1.Session", "Denied"])
    assert failed.value.name == "org.freedesktop.DBus.Error.UnknownObject"
    with pytest.raises(dbus.Failure) as failed:
        client.manager("GetSession", "s", [SESSION])
    assert failed.value.name == "NoSuchSession"


def test_a_session_may_end_inside_its_own_terminate(machine):
    machine.service.order("end-at-once")
    client = machine.client(OWNER)
    for i in range(20):
        machine.service.order(f"add {i:032x} {OWNER} x")
        client.call("org.wrapd1", session_path(f"{i:032x}"), "org.wrapd1.Session", "Terminate")
    assert client.manager("ListSessions") == [[]]


def test_terminate_user_ends_that_users_sessions(machine):
    machine.service.order(f"add-many 5 {OWNER}")
    machine.service.order(f"add-many 3 {OTHER}")
    assert machine.client(OWNER).manager("TerminateUser", "u", [OWNER]) == [5]
    assert machine.client(OWNER).manager("TerminateUser", "u", [OWNER]) == [0]
    # Also those that end already are told, for the case that the service could not note it; they are not counted again.
    told = machine.service.order("reset")
    assert (len(told), len(set(told))) == (10, 5)


def test_questions_are_announced_listed_and_withdrawn(machine):
    client = machine.client(OTHER)
    listen(client)
    machine.service.order(f"add {SESSION} {OWNER} x")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    announced = client.signal("ApprovalRequested").body
    listed = client.manager("ListApprovals")[0]
    assert announced[:2] == [QUESTION, session_path(SESSION)]
    names = ("uid", "operation", "target", "abstract", "rule", "policy", "guidance", "pid", "comm", "exe", "deadline")
    assert listed == [(QUESTION, session_path(SESSION), *[announced[2][name] for name in names])]
    assert set(announced[2]) == set(names)
    assert announced[2]["target"] == "/run/x\\x1b[2J"
    machine.watcher.manager("Deny", "s", [QUESTION])
    assert client.signal("ApprovalRemoved").body == [QUESTION, "denied"]


def test_policies_are_told_per_caller(machine):
    client = machine.client(OTHER)
    assert client.manager("ListPolicies") == [[("default", "/p", "enforce", str(OTHER), True)]]
    assert client.manager("DescribePolicy", "s", ["default"]) == ["/p", "enforce", "version: 1\n"]
    assert client.manager("TestPolicy", "sss", ["", "connect", "/x"]) == ["deny", "/x", ""]
    with pytest.raises(dbus.Failure) as failed:
        client.manager("DescribePolicy", "s", ["other\x1b"])
    assert failed.value.name == "NoSuchPolicy" and "\x1b" not in failed.value.text
    machine.service.order("reload-fails")
    with pytest.raises(dbus.Failure) as failed:
        machine.watcher.manager("Reload")
    assert (failed.value.name, failed.value.text) == ("InvalidPolicy", "default.yaml:1:1: broken")


def test_properties_of_the_manager(machine):
    machine.service.order(f"add-many 3 {OWNER}")
    everything = machine.client(OTHER).call("org.wrapd1", "/org/wrapd1", "org.freedesktop.DBus.Properties", "GetAll",
                                            "s", ["org.wrapd1.Manager"])[0]
    assert everything["Sessions"] == 3 and everything["Features"] == ["unix-sockets"] and everything["Version"]


def test_an_exception_of_any_kind_is_an_error_reply(own_machine):
    machine = own_machine()
    client = machine.client(OTHER)
    with pytest.raises(dbus.Failure) as failed:
        client.manager("TestPolicy", "sss", ["throw", "connect", "/x"])
    assert failed.value.name == "Internal"
    assert client.manager("ListSessions") == [[]]
    assert machine.service.stop() == "wrapd: D-Bus API, a method: not an sdbus::Error\n"
