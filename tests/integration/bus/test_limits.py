# SPDX-License-Identifier: Apache-2.0
"""What one user does to the API, others must not notice."""

import os
import pwd
import resource
import select
import signal
import socket
import statistics
import struct
import time

import pytest

from lib import dbus
from lib.bus import OTHER, OWNER, SESSION, Machine

CALLS = ("org.wrapd1", "/org/wrapd1")
MANAGER = "org.wrapd1.Manager"
LIMIT = "org.wrapd1.Error.LimitExceeded"


@pytest.fixture
def busy():
    """A machine of the test's own: buckets are emptied here."""
    machine = Machine()
    yield machine
    assert machine.stop() == ""


def answers(client, count, interface, member, signature="", args=()):
    """The error names (None: answered) of as many calls, of which 100 are on their way at a time: the bus itself allows
    no more than 128."""
    out = []
    while len(out) < count:
        wanted = [client.send(*CALLS, interface, member, signature, args) for _ in range(min(100, count - len(out)))]
        replies = {}
        while len(replies) < len(wanted):
            reply = client.wait(lambda m: m.kind in (dbus.RETURN, dbus.ERROR))
            replies[reply.reply_to] = reply.error
        out += [replies[serial] for serial in wanted]
    return out


def turns(machine):
    return int(machine.service.order("turns")[0])


def test_newcomers_who_always_wait_do_not_silence_the_bus(busy):
    """Where the same loop takes connections from somebody who does nothing but connect."""
    busy.service.order("busy")
    before = turns(busy)
    for _ in range(5):  # each a sender that the bus has to be asked about, with the call held meanwhile
        client = busy.client(OTHER)
        client.manager("ListSessions")
    assert turns(busy) > before


def test_calls_do_not_silence_newcomers(busy):
    flooder = busy.client(OWNER)
    flooder.manager("ListSessions")
    busy.service.order("busy")
    before = turns(busy)
    outcome = answers(flooder, 3000, MANAGER, "ListSessions")
    assert LIMIT in outcome
    # A turn of the bus takes a few messages at most.
    assert turns(busy) - before >= len(outcome) // 16


def test_a_user_who_calls_too_often_is_refused_at_once(busy):
    client, other = busy.client(OWNER), busy.client(OTHER)
    client.manager("ListSessions")
    outcome = answers(client, 3000, MANAGER, "ListSessions")
    assert outcome.count(LIMIT) > 1500
    assert outcome.count(None) >= 300
    assert set(outcome) == {None, LIMIT}
    # The user, not the connection; and the bus's own interfaces, too.
    second = busy.client(OWNER)
    for interface, member, signature, args in (
            (MANAGER, "ListSessions", "", []), ("org.freedesktop.DBus.Introspectable", "Introspect", "", []),
            ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", []),
            ("org.freedesktop.DBus.Properties", "GetAll", "s", [MANAGER])):
        assert LIMIT in answers(second, 500, interface, member, signature, args)
    other.manager("ListSessions")


def test_many_users_together_leave_room_for_who_calls_little(busy):
    crowd = [busy.client(entry.pw_uid) for entry in pwd.getpwall() if entry.pw_uid not in (0, OTHER)][:16]
    assert len(crowd) == 16
    busy.service.order(f"add {SESSION} {OTHER} x")
    for client in crowd:
        client.manager("GetSession", "s", [SESSION])
    serials = [(client, client.send(*CALLS, MANAGER, "ListPolicies")) for _ in range(95) for client in crowd]
    texts = [reply.body[0] for reply in (client.answer_to(serial) for client, serial in serials)
             if reply.kind == dbus.ERROR]
    assert any("too many call at once" in text for text in texts), texts[:3]
    # The bucket of all is as good as empty.
    busy.client(OTHER).manager("ListPolicies")
    busy.watcher.manager("ListPolicies")


def test_calls_that_come_before_the_sender_is_known_are_few(busy):
    client = busy.client(OWNER)
    # All of them lie before the service when it comes to ask who that is.
    os.kill(busy.service.pid, signal.SIGSTOP)
    serials = [client.send(*CALLS, MANAGER, "ListSessions") for _ in range(50)]
    client.driver("GetId")
    os.kill(busy.service.pid, signal.SIGCONT)
    outcome = [client.answer_to(serial).error for serial in serials]
    assert outcome == [None] * 8 + [LIMIT] * 42


def test_what_is_listed_costs_by_its_length(busy):
    busy.service.order(f"add-many 1000 {OTHER}")
    client = busy.client(OWNER)
    client.manager("GetSession", "s", [busy.client(0).manager("ListSessions")[0][0][0]])
    outcome = answers(client, 8, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert outcome.count(None) <= 2


def test_large_arguments_are_refused(busy):
    client = busy.client(OWNER)
    for signature, args in (("s", ["x" * 100000]), ("a{sv}", [{"command": dbus.Variant("s", "x" * 100000)}]),
                            ("ay", [[0] * 100000]), ("av", [[dbus.Variant("s", "")] * 30000])):
        with pytest.raises(dbus.Failure) as failed:
            client.manager("GetSession", signature, args)
        assert failed.value.name == "LimitExceeded"
    client.manager("ListSessions")


def test_root_is_not_counted(busy):
    busy.watcher.manager("ListPolicies")  # makes root known
    assert set(answers(busy.watcher, 2000, MANAGER, "ListPolicies")) == {None}


CALLS_PER_SECOND = 10000


def flood(bus, uid, calls, ready):
    """A process that sends 100 calls at once, 100 times a second."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(ready[0])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(bus.path))
        connection = dbus.Connection(connected, uid)
        connected.setblocking(False)
        count, start = 0, time.monotonic()
        while True:
            due = max(0, start + count / CALLS_PER_SECOND - time.monotonic())
            if select.select([connected], [], [], due)[0]:
                connected.recv(1 << 20)
            elif select.select([], [connected], [], 0)[1]:
                # Whole messages, whatever the bus takes at once.
                connected.setblocking(True)
                connected.sendall(calls)
                connected.setblocking(False)
                count += 100
                os.write(ready[1], struct.pack("<q", count))
    finally:
        os._exit(0)


def latency(client, calls):
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        client.manager("GetSession", "s", [SESSION])
        times.append(time.perf_counter() - start)
    return times


@pytest.mark.parametrize("interface,member,signature,args",
                         [(MANAGER, "ListSessions", "", []), (MANAGER, "TerminateSession", "s", [SESSION]),
                          ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", [])])
def test_ten_thousand_calls_of_one_user_do_not_keep_others_waiting(busy, capsys, interface, member, signature, args):
    busy.service.order(f"add {SESSION} {OTHER} x")
    busy.service.order(f"add-many 100 {OTHER}")
    client = busy.client(OTHER)
    quiet = latency(client, 50)
    # 100 calls of which every serial is valid; no answer is wanted, so that none piles up.
    calls = b"".join(dbus.message(dbus.CALL, 100 + i, signature, args, flags=dbus.NO_REPLY_EXPECTED,
                                  path="/org/wrapd1", interface=interface, member=member, destination="org.wrapd1")
                     for i in range(100))
    ready = os.pipe()
    pid = flood(busy.bus, OWNER, calls, ready)
    os.close(ready[1])
    try:
        assert select.select([ready[0]], [], [], dbus.PATIENCE)[0]
        start = time.monotonic()
        loud = latency(client, 100)
        spent = time.monotonic() - start
        sent = struct.unpack("<q", os.read(ready[0], 1 << 20)[-8:])[0]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready[0])
    with capsys.disabled():
        print(f"\n{member}: about {sent / spent:.0f} calls/s sent by one user; another's call takes "
              f"{statistics.median(loud) / statistics.median(quiet):.1f} times the quiet median, at worst "
              f"{max(loud) / statistics.median(quiet):.0f} times")


def test_memory_does_not_grow_with_refusals(busy):
    client = busy.client(OWNER)
    client.manager("ListSessions")

    def resident():
        status = open(f"/proc/{busy.service.pid}/statm", encoding="ascii").read()
        return int(status.split()[1]) * resource.getpagesize()

    answers(client, 2000, MANAGER, "ListSessions")
    before = resident()
    answers(client, 10000, MANAGER, "ListSessions")
    assert resident() - before < 2 << 20
