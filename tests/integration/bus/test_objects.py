# SPDX-License-Identifier: Apache-2.0
"""What is there to see: the documented interfaces, objects, properties and signals."""

import re
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


def documented_dictionaries():
    """{member: {key: type}} of docs/dbus.md."""
    table = (ROOT / "docs/dbus.md").read_text().split("\n## Dictionaries\n")[1].split("\n## ")[0]
    out, members = {}, []
    for of, key, kind in re.findall(r"^\| ([^|]*)\| `(\w+)` \| (\w) \|", table, re.M):
        members = re.findall(r"`(\w+)`", of) or members
        for member in members:
            out.setdefault(member, {})[key] = kind
    return out


def test_dictionaries_have_the_documented_keys_and_types(machine, monkeypatch):
    client = machine.client(OTHER)
    listen(client)
    monkeypatch.setattr(dbus, "UNWRAP", False)
    machine.service.order(f"add {SESSION} {OWNER} x")
    machine.service.order(f"ask {QUESTION} {SESSION}")
    machine.service.order(f"denied {SESSION} /run/x")
    sent = {name: client.signal(name).body[-1] for name in ("SessionNew", "ApprovalRequested", "Denied")}
    for name in ("ListSessions", "ListApprovals", "ListPolicies"):
        sent[name] = client.manager(name)[0][0][-1]
    sent["DescribePolicy"] = client.manager("DescribePolicy", "s", ["default"])[0]
    sent["TestPolicy"] = client.manager("TestPolicy", "sss", ["", "connect", "/x"])[0]
    machine.watcher.manager("Deny", "s", [QUESTION])
    sent["ApprovalRemoved"] = client.signal("ApprovalRemoved").body[-1]
    types = {member: {key: value.signature for key, value in entries.items()} for member, entries in sent.items()}
    assert types == documented_dictionaries()
    properties = ElementTree.parse(ROOT / "docs/org.wrapd1.xml").getroot().findall(
        "interface[@name='org.wrapd1.Session']/property")
    assert types["ListSessions"] == {p.get("name"): p.get("type") for p in properties}


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
    assert client.signal("SessionNew").body == [SESSION, session_path(SESSION), properties]
    assert client.manager("GetSession", "s", [SESSION]) == [session_path(SESSION)]

    machine.service.order(f"count {SESSION}")
    machine.service.order(f"stale {SESSION}")
    changed = client.signal("PropertiesChanged")  # of the counter there is none
    assert changed.path == session_path(SESSION)
    assert changed.body == ["org.wrapd1.Session", {"Stale": True}, []]
    machine.service.order(f"denied {SESSION} /run/\x1bx")
    denied = client.signal("Denied")
    assert denied.path == session_path(SESSION)
    assert denied.body == [{"operation": "connect", "target": "/run/\\x1bx", "second": "/b\\x0a", "abstract": False,
                            "rule": "no", "policy": "p", "pid": 7, "comm": "cat\\x0a", "count": 3}]
    get = ("org.wrapd1", session_path(SESSION), "org.freedesktop.DBus.Properties", "Get", "ss")
    assert client.call(*get, ["org.wrapd1.Session", "Denied"]) == [1]

    machine.watcher.manager("TerminateSession", "s", [SESSION])
    assert client.signal("PropertiesChanged").body[1] == {"State": "terminating"}
    machine.service.order(f"remove {SESSION}")
    assert client.signal("InterfacesRemoved").body == [session_path(SESSION), ["org.wrapd1.Session"]]
    assert client.signal("SessionRemoved").body == [SESSION, session_path(SESSION), {}]
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
    assert listed == [tuple(announced)]
    assert set(announced[2]) == set(names)
    assert announced[2]["target"] == "/run/x\\x1b[2J"
    machine.watcher.manager("Deny", "s", [QUESTION])
    assert client.signal("ApprovalRemoved").body == [QUESTION, session_path(SESSION), {"how": "denied"}]


def test_policies_are_told_per_caller(machine):
    client = machine.client(OTHER)
    assert client.manager("ListPolicies") == [[("default", {"file": "/p", "mode": "enforce", "problem": str(OTHER),
                                                            "default": True})]]
    assert client.manager("DescribePolicy", "s", ["default"]) == [{"file": "/p", "mode": "enforce",
                                                                   "text": "version: 1\n"}]
    assert client.manager("TestPolicy", "sss", ["", "connect", "/x"]) == [{"decision": "deny", "rule": "/x",
                                                                           "guidance": ""}]
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
