# SPDX-License-Identifier: Apache-2.0
"""Clients that call, or subscribe, and never read. dbus-daemon keeps what it cannot deliver, and reads nothing more from
a program of which it keeps 127 MiB or 64 descriptors: then nobody would get an answer of the service any more."""

import os
import select
import signal
import socket
import time

import pytest

from lib import dbus
from lib.bus import OTHER, OWNER, SESSION, Machine

DRIVER = ("org.freedesktop.DBus", "/org/freedesktop/DBus")
HOARDERS = (1, 3, 4, 5, 6, 7, 8, 9)  # without OTHER
MIB = 1 << 20


@pytest.fixture
def loaded():
    """A machine with several hundred sessions whose commands are as long as they may be."""
    machine = Machine()
    machine.service.order(f"add {SESSION} {OTHER} {'x' * 4096}")
    machine.service.order(f"add-long 300 {OTHER} 4096")
    yield machine
    machine.stop()


def statistics(machine, name="org.wrapd1"):
    return machine.watcher.call(*DRIVER, "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", "s", [name])[0]


def peak_memory(machine):
    with open(f"/proc/{machine.service.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def call_all(clients, calls, interface, member, signature="", args=(), path="/org/wrapd1"):
    for _ in range(calls):
        for client in clients:
            client.send("org.wrapd1", path, interface, member, signature, args)


@pytest.mark.parametrize("users", [HOARDERS[:1], HOARDERS])
@pytest.mark.parametrize("interface,member,signature,args", [
    ("org.wrapd1.Manager", "ListSessions", "", []),
    ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", []),
    ("org.freedesktop.DBus.Introspectable", "Introspect", "", []),
    ("org.freedesktop.DBus.Properties", "GetAll", "s", ["org.wrapd1.Session"]),
    ("org.wrapd1.Manager", "Nonsense", "", []),
    ("org.freedesktop.DBus.Properties", "Get", "ss", ["org.wrapd1.Session", "Id"]),
])
def test_answers_that_are_not_read_are_few(loaded, users, interface, member, signature, args):
    # "Get" is for an object that there is not: the error repeats its name.
    path = {"GetAll": f"/org/wrapd1/session/{SESSION}", "Get": "/" + "x" * 60000}.get(member, "/org/wrapd1")
    before = peak_memory(loaded)
    hoarders = [loaded.client(uid) for uid in users for _ in range(3)]
    reader = loaded.client(OTHER)
    for _ in range(10):
        call_all(hoarders, 30, interface, member, signature, args, path)
        rows = reader.manager("ListSessions")[0]
        assert len(rows) == 301
    # What the bus keeps for them of ours: at most a part each, and what one call may be over it.
    assert statistics(loaded)["IncomingBytes"] < len(users) * 2 * MIB
    assert peak_memory(loaded) - before < 16 * MIB


def test_who_reads_after_all_is_answered_again(loaded):
    late = loaded.client(OWNER)
    serials = [late.send("org.wrapd1", "/org/wrapd1", "org.wrapd1.Manager", "ListSessions") for _ in range(24)]
    loaded.client(OWNER).manager("GetSession", "s", [SESSION])  # by when they are dealt with
    outcomes = [late.answer_to(serial).error for serial in serials]
    assert outcomes[0] is None and outcomes[-1] == "org.wrapd1.Error.LimitExceeded", outcomes
    late.manager("GetSession", "s", [SESSION])


def test_connections_that_are_not_taken_are_few(loaded):
    """An answer with a descriptor that nobody takes keeps one of 64 places at the bus."""
    hoarders = [loaded.client(uid) for uid in HOARDERS]
    # Their sockets are full: what follows stays with the bus.
    for hoarder in hoarders:
        fill(loaded, hoarder)
    reader = loaded.client(OTHER)
    for _ in range(8):
        call_all(hoarders, 4, "org.wrapd1.Manager", "OpenSession", "a{sv}",
                 [{"command": dbus.Variant("s", "x"), "cwd": dbus.Variant("s", "/")}])
        reader.manager("OpenSession", "a{sv}", [{"command": dbus.Variant("s", "x"), "cwd": dbus.Variant("s", "/")}])
        for fd in reader.take_fds():
            os.close(fd)
    assert statistics(loaded)["IncomingFDs"] <= 48
    assert statistics(loaded)["PeakIncomingFDs"] < 64
    loaded.watcher.manager("ListPolicies")


def fill(machine, client):
    """What somebody else sends it takes all the room of its socket."""
    for _ in range(8):
        client.send(*DRIVER, "org.freedesktop.DBus.Introspectable", "Introspect")
    other = machine.client(0)
    for _ in range(16):
        other.send_raw(dbus.message(dbus.SIGNAL, 7, "s", ["x" * 65536], path="/x", interface="org.example.X", member="X",
                                    destination=client.name))
    other.driver("GetId")
    assert statistics(machine, client.name)["OutgoingBytes"] > 0


def stuff(machine, sender, client, size, descriptors=0):
    """More than fits into its socket: the bus keeps it, and counts it as not read."""
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(min(descriptors, 16))]
    for _ in range(size // MIB):
        sender.send_raw(dbus.message(dbus.SIGNAL, 7, "s", ["x" * MIB], path="/x", interface="org.example.X", member="X",
                                     destination=client.name))
    for _ in range(descriptors // 16):
        data = dbus.message(dbus.SIGNAL, 7, "ah", [range(16)], path="/x", interface="org.example.X",
                                      member="X", destination=client.name, fds=16)
        socket.send_fds(sender.socket, [data], fds)
    for fd in fds:
        os.close(fd)
    sender.driver("GetId")
    held = statistics(machine, client.name)
    assert held["OutgoingBytes"] > size / 2 and held["OutgoingFDs"] == descriptors


def test_what_others_send_to_a_client_is_not_held_against_anybody(loaded):
    """The bus says what a client has not read, whoever sent it."""
    opened = ("OpenSession", "a{sv}", [{"command": dbus.Variant("s", "x"), "cwd": dbus.Variant("s", "/")}])
    attacker = loaded.client(OWNER)
    own = [loaded.client(OWNER) for _ in range(2)]
    stopped = loaded.client(OTHER)
    stuff(loaded, attacker, own[0], 32 * MIB)
    stuff(loaded, attacker, own[1], MIB, 48)
    stuff(loaded, attacker, stopped, 32 * MIB)
    for client in (*own, stopped):
        for _ in range(3):
            client.send("org.wrapd1", "/org/wrapd1", "org.wrapd1.Manager", "ListSessions")
    for uid in (OTHER, 3):
        reader = loaded.client(uid)
        for _ in range(3):
            reader.manager(*opened)
            assert len(reader.manager("ListSessions")[0]) > 300
        for fd in reader.take_fds():
            os.close(fd)
    # Nor does it keep what the attacker's user orders itself.
    with pytest.raises(dbus.Failure) as refused:
        loaded.client(OWNER).manager("TerminateSession", "s", ["f" * 32])
    assert refused.value.name == "NoSuchSession"


def subscriber(machine, uid):
    client = machine.client(uid)
    client.driver("AddMatch", "s", ["type='signal',sender='org.wrapd1'"])
    return client


def test_events_that_are_not_read_do_not_stop_the_service(loaded):
    subscriber(loaded, OWNER)
    reader = loaded.client(OTHER)
    before = peak_memory(loaded)
    for _ in range(100):
        loaded.service.order(f"deny-many {SESSION} 500 4000")
        reader.manager("GetSession", "s", [SESSION])
    assert statistics(loaded)["IncomingBytes"] < 40 * MIB
    assert peak_memory(loaded) - before < 32 * MIB
    assert "signals were not sent" in loaded.service.stop()


def test_a_connection_that_the_bus_holds_too_much_of_is_given_up(loaded):
    """What every listener relies on is sent; so somebody who never reads makes the bus keep it."""
    subscriber(loaded, OWNER)
    reader = loaded.client(OTHER)
    first = loaded.watcher.driver("GetNameOwner", "s", ["org.wrapd1"])
    for _ in range(300):
        loaded.service.order("come-and-go 200 1")
        try:
            held = statistics(loaded)["IncomingBytes"]
            assert held < 48 * MIB, held
            if loaded.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) != first:
                break
        except dbus.Failure:
            break  # between two connections
    loaded.await_service()
    assert loaded.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) != first
    assert len(reader.manager("ListSessions")[0]) == 301
    assert statistics(loaded)["IncomingBytes"] < MIB
    # Signals that were left out meanwhile are told in lines of their own.
    lines = [line for line in loaded.service.stop().splitlines() if not line.endswith("or the bus is behind")]
    assert lines[0].startswith("wrapd: no D-Bus API: somebody on the bus does not read the service's signals; ")
    assert lines[1] == "wrapd: the D-Bus API is there again"


def test_a_bus_that_takes_nothing_is_given_up(loaded):
    before = peak_memory(loaded)
    os.kill(loaded.bus.process.pid, signal.SIGSTOP)
    try:
        told = select.select([loaded.service.process.stderr], [], [], 0)[0]
        deadline = time.monotonic() + 3 * dbus.PATIENCE
        while not told and time.monotonic() < deadline:
            loaded.service.order("come-and-go 50 1")
            loaded.service.order(f"deny-many {SESSION} 50 4000")
            told = select.select([loaded.service.process.stderr], [], [], 0.02)[0]
    finally:
        os.kill(loaded.bus.process.pid, signal.SIGCONT)
    lines = [loaded.service.process.stderr.readline() for _ in range(3)]
    assert "signals were not sent" in lines[0]
    assert lines[1] == ("wrapd: no D-Bus API: the bus does not take what the service sends; trying again, everything "
                        "else goes on\n")
    assert lines[2] == "wrapd: the D-Bus API is there again\n"
    # What was queued meanwhile, and one session's objects after the other; not what all of it would be.
    assert peak_memory(loaded) - before < 40 * MIB
    assert len(loaded.client(OTHER).manager("ListSessions")[0]) == 301


def test_a_service_that_did_not_get_to_read_does_not_blame_the_bus(loaded):
    """The answer lies there when its time is over."""
    first = loaded.watcher.driver("GetNameOwner", "s", ["org.wrapd1"])
    os.kill(loaded.bus.process.pid, signal.SIGSTOP)
    try:
        loaded.service.order("come-and-go 1000 1")  # enough to ask the bus how much it keeps
        os.kill(loaded.service.pid, signal.SIGSTOP)
    finally:
        os.kill(loaded.bus.process.pid, signal.SIGCONT)
    try:
        loaded.watcher.driver("GetId")
        time.sleep(10.5)  # longer than the service waits
    finally:
        os.kill(loaded.service.pid, signal.SIGCONT)
    assert len(loaded.client(OTHER).manager("ListSessions")[0]) == 301
    assert loaded.watcher.driver("GetNameOwner", "s", ["org.wrapd1"]) == first
    assert "no D-Bus API" not in loaded.service.stop()


def test_who_has_no_account_pays_with_all_who_have_none(loaded):
    strangers = HOARDERS[:4]
    for uid in strangers:
        loaded.service.order(f"no-account {uid}")
    clients = [loaded.client(uid) for uid in strangers]
    call_all(clients[:1], 1, "org.wrapd1.Manager", "ListSessions")
    for _ in range(5):
        call_all(clients[:1], 100, "org.wrapd1.Manager", "ListPolicies")
    clients[0].driver("GetId")
    outcomes = []
    for client in clients[1:]:
        try:
            client.manager("ListSessions")
            outcomes.append(None)
        except dbus.Failure as failure:
            outcomes.append(failure.name)
    assert "LimitExceeded" in outcomes
    assert len(loaded.client(OTHER).manager("ListSessions")[0]) == 301


def test_long_commands_are_whole_only_where_one_is_asked_for(loaded):
    reader = loaded.client(OTHER)
    path = f"/org/wrapd1/session/{SESSION}"
    properties = "org.freedesktop.DBus.Properties"
    whole = "x" * 4096
    get = reader.call("org.wrapd1", path, properties, "Get", "ss", ["org.wrapd1.Session", "Command"])
    assert get == [whole]
    assert reader.call("org.wrapd1", path, properties, "GetAll", "s", ["org.wrapd1.Session"])[0]["Command"] == whole
    row, = (row for row in reader.manager("ListSessions")[0] if row[0] == SESSION)
    objects = reader.call("org.wrapd1", "/org/wrapd1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
    for short in (row[2]["Command"], objects[path]["org.wrapd1.Session"]["Command"]):
        assert len(short) <= 128 and short.startswith("xxx") and "[...]" in short
