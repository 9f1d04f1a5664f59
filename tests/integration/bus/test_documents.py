# SPDX-License-Identifier: Apache-2.0
"""What docs/dbus.md promises of its examples, and polkit's file."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from lib import dbus
from lib.bus import OTHER, OWNER, ROOT, SESSION, session_path, table

ACTIONS = {"manage-sessions": "auth_admin", "approve-own": "auth_self", "approve": "auth_admin",
           "reload": "auth_admin_keep", "use-docker": "auth_admin"}
POLICY = ROOT / "polkit/org.wrapd1.policy"
DTD = "/usr/share/polkit-1/policyconfig-1.dtd"


def test_the_list_can_be_hidden_by_the_documented_drop_in(own_machine):
    text = (ROOT / "docs/dbus.md").read_text().split("\n## Hiding the list\n")[1]
    # A group that every machine has: OTHER's.
    rules = re.search(r"<busconfig>(.*)</busconfig>", text, re.S).group(1).replace('group="operators"', 'group="bin"')
    machine = own_machine(bus_policy=rules)
    machine.service.order(f"add {SESSION} {OWNER} secret")
    owner, operator = machine.client(OWNER), machine.client(OTHER)
    reads = [("/org/wrapd1", "org.wrapd1.Manager", "ListSessions", "", []),
             ("/org/wrapd1", "org.wrapd1.Manager", "ListApprovals", "", []),
             ("/org/wrapd1", "org.wrapd1.Manager", "GetSession", "s", [SESSION]),
             ("/org/wrapd1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", []),
             ("/org/wrapd1/session", "org.freedesktop.DBus.Introspectable", "Introspect", "", []),
             (session_path(SESSION), "org.freedesktop.DBus.Properties", "GetAll", "s", ["org.wrapd1.Session"])]
    for call in reads:
        assert operator.call("org.wrapd1", *call)
        assert machine.watcher.call("org.wrapd1", *call)
        with pytest.raises(dbus.Failure) as failed:
            owner.call("org.wrapd1", *call)
        assert failed.value.name == "org.freedesktop.DBus.Error.AccessDenied"
    for client in (owner, operator):
        client.driver("AddMatch", "s", ["type='signal',sender='org.wrapd1'"])
    owner.manager("TerminateSession", "s", [SESSION])
    assert operator.signal("PropertiesChanged")
    # What the bus has for the owner comes before the answer to this.
    owner.driver("GetId")
    assert not [m for m in owner.inbox if m.kind == dbus.SIGNAL and m.path.startswith("/org/wrapd1")]


@pytest.mark.parametrize("uid", [OWNER, 0])
def test_nobody_sends_descriptors(machine, uid):
    """Closing what somebody sent may wait for whoever made it: it must not even come."""
    client = machine.client(uid)
    unique = client.driver("GetNameOwner", "s", ["org.wrapd1"])[0]
    for destination in ("org.wrapd1", unique):
        for member, signature, body in (("OpenSession", "a{sv}", [{}]), ("CheckPolicy", "h", [0]),
                                        ("ListSessions", "", []), ("NoSuchMember", "h", [0])):
            with pytest.raises(dbus.Failure) as failed:
                client.call(destination, "/org/wrapd1", "org.wrapd1.Manager", member, signature, body, fds=[0])
            assert failed.value.name == "org.freedesktop.DBus.Error.AccessDenied", member
    assert client.manager("ListSessions") == [[]]


def test_no_signal_brings_root_descriptors(machine):
    """Also where the service is on the bus without its name: at its start and at its end."""
    client, nameless = machine.client(OWNER), machine.client(0)
    for destination in (nameless.name, client.driver("GetNameOwner", "s", ["org.wrapd1"])[0]):
        for fds in ([0], []):
            client.send_raw(dbus.message(dbus.SIGNAL, next(client.serials), path="/", interface="a.b", member="C",
                                         destination=destination, fds=len(fds)), fds)
    # What came is what had none, and nothing of it to the service.
    nameless.wait(lambda m: m.kind == dbus.SIGNAL and m.interface == "a.b")
    nameless.driver("GetId")
    assert nameless.take_fds() == []
    assert not [m for m in nameless.inbox if m.interface == "a.b"]


@pytest.mark.skipif(not shutil.which("xmllint"), reason="needs xmllint")
def test_polkits_file_is_valid():
    subprocess.run(["xmllint", "--noout", "--dtdvalid", DTD, str(POLICY)], check=True)


def test_polkits_file_has_the_documented_defaults():
    actions = {}
    for action in ElementTree.parse(POLICY).getroot().findall("action"):
        assert action.findtext("description") and action.findtext("message")
        actions[action.get("id")] = [(d.tag, d.text) for d in action.find("defaults")]
    assert actions == {f"org.wrapd1.{name}": [(tag, default) for tag in ("allow_any", "allow_inactive", "allow_active")]
                       for name, default in ACTIONS.items()}
    used = {m[which] for m in table() for which in ("own", "others")} - {""}
    assert used <= set(actions)
    document = (ROOT / "docs/dbus.md").read_text()
    assert all(f"| `org.wrapd1.{name}` | {default} |" in document for name, default in ACTIONS.items())
