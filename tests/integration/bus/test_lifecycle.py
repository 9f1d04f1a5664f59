# SPDX-License-Identifier: Apache-2.0
"""The bus comes and goes, and so may a second service."""

import socket

import pytest

from lib import dbus
from lib.bus import OTHER, OWNER, SESSION, Service, session_path


def test_the_bus_restarts(own_machine):
    machine = own_machine()
    machine.service.order(f"add {SESSION} {OWNER} x")
    waiting = machine.client(OTHER)
    machine.polkit.mode = "hang"
    waiting.send("org.wrapd1", "/org/wrapd1", "org.wrapd1.Manager", "TerminateSession", "s", [SESSION])
    machine.polkit.question()
    for _ in range(3):
        machine.bus.stop()
        # It goes on without the bus, and does not lose what happens meanwhile.
        machine.service.order(f"stale {SESSION}")
        machine.bus.start()
        watcher = machine.client(0)
        watcher.driver("AddMatch", "s", ["type='signal',sender='org.freedesktop.DBus',arg0='org.wrapd1'"])
        machine.await_service(watcher)
        sessions = machine.client(OTHER).manager("ListSessions")[0]
        assert [(s[0], s[-1]["Stale"]) for s in sessions] == [(SESSION, True)]
        assert machine.client(OTHER).call("org.wrapd1", session_path(SESSION), "org.freedesktop.DBus.Properties", "Get",
                                          "ss", ["org.wrapd1.Session", "Stale"]) == [True]
    machine.client(OWNER).manager("TerminateSession", "s", [SESSION])
    assert machine.service.order("reset") == [f"terminate {SESSION} by uid {OWNER}"]
    lines = machine.service.stop().splitlines()
    assert len(lines) == 6, lines
    assert all(line.startswith("wrapd: no D-Bus API: ") for line in lines[::2])
    assert all(line == "wrapd: the D-Bus API is there again" for line in lines[1::2])


def test_a_service_without_a_bus_serves_and_stops(own_machine):
    machine = own_machine()
    machine.bus.stop()
    lonely = Service(machine.bus, polkit_ms=1000)
    lonely.order(f"add {SESSION} {OWNER} x")
    lonely.order(f"remove {SESSION}")
    assert lonely.process.stderr.readline().startswith("wrapd: no D-Bus API: ")
    assert lonely.stop() == ""


def test_a_second_service_does_not_get_the_name(own_machine):
    machine = own_machine()
    first = machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"])
    second = Service(machine.bus, polkit_ms=1000)
    line = second.process.stderr.readline()
    assert line == ("wrapd: no D-Bus API: another program has the name org.wrapd1; trying again, everything else goes "
                    "on\n")
    assert machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) == first
    # It takes over once the first has ended.
    assert machine.service.stop() == ""
    machine.watcher.wait(lambda m: m.member == "NameOwnerChanged" and m.body[0] == "org.wrapd1" and not m.body[2])
    machine.await_service()
    assert machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) != first
    machine.watcher.manager("ListSessions")  # by when it knows, too
    assert second.stop() == "wrapd: the D-Bus API is there again\n"


def test_a_bus_that_hangs_holds_nothing_up(own_machine):
    """A listener that accepts and never speaks: connecting waits on a thread, the service goes on and can be stopped."""
    machine = own_machine()
    machine.bus.stop()
    machine.bus.path.unlink()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(machine.bus.path))
        mute.listen()
        lonely = Service(machine.bus, polkit_ms=1000)
        accepted, _ = mute.accept()
        for _ in range(10):
            lonely.order("reset")
        assert lonely.stop() == ""
        accepted.close()


@pytest.mark.parametrize("sender", ["org.freedesktop.DBus", "org.freedesktop.DBus.Local"])
def test_nobody_can_say_that_the_bus_has_gone(machine, sender):
    """Signals that pretend to be the bus's or sd-bus's own; the bus itself ends who sends the latter."""
    client = machine.client(OTHER)
    owner = machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"])
    path = "/" + sender.replace(".", "/")
    member = "Disconnected" if sender.endswith("Local") else "NameOwnerChanged"
    client.send_raw(dbus.message(dbus.SIGNAL, 77, "sss", ["org.wrapd1", owner[0], ""], path=path, interface=sender,
                                 member=member, destination="org.wrapd1"))
    machine.client(OTHER).manager("ListSessions")
    assert machine.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) == owner
