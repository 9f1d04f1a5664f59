# SPDX-License-Identifier: Apache-2.0
"""A connection to the bus outlives the process that made it, and then its number may be another process's."""

import ctypes
import os
import struct

import pytest

from lib import dbus
from lib.processes import in_child, next_tick
from lib.bus import OTHER, OWNER, PR_SET_NO_NEW_PRIVS, SESSION, Service

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
BPF_RET, SECCOMP_RET_ALLOW = 0x06, 0x7FFF0000


def confine():
    """no_new_privs, and a filter that lets everything through."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    code = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET, 0, 0, SECCOMP_RET_ALLOW))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0, os.strerror(ctypes.get_errno())


def confined(uid, work):
    """What `work` comes to in a confined process that has inherited all connections: None, or the refusal."""
    def body():
        confine()
        try:
            work()
        except dbus.Failure as failure:
            return failure.name
        return None
    return in_child(uid, body)


def number_of(machine, client):
    """None: the bus knows that the process has gone (it has a pidfd of it)."""
    try:
        return machine.watcher.driver("GetConnectionUnixProcessID", "s", [client.name])[0]
    except dbus.Failure as failure:
        assert failure.name == "org.freedesktop.DBus.Error.UnixProcessIdUnknown"
        return None


def terminate(client):
    return client.manager("TerminateSession", "s", [SESSION])


def next_instant(machine):
    """Once the service knows of all who are on the bus: the next instant that start times can tell from this one."""
    machine.watcher.manager("ListSessions")
    next_tick()


def attack(machine, maker, meanwhile=lambda: None):
    """A confined process uses what `maker` has left behind, when somebody unconfined of the same user has its number."""
    machine.service.order(f"add {SESSION} {OWNER} x")
    maker.end_process()
    next_instant(machine)
    heir = machine.client(OWNER, number=maker.pid)
    assert number_of(machine, heir) == heir.pid and number_of(machine, maker) in (heir.pid, None)
    meanwhile()
    assert confined(OWNER, lambda: terminate(maker)) == "Confined"
    # It may still look.
    assert confined(OWNER, lambda: maker.manager("ListSessions")) is None
    # And who has the number now is nobody else, and may do what it asks for itself.
    terminate(heir)
    assert machine.service.order("reset") == [f"terminate {SESSION} by uid {OWNER}"]


@pytest.mark.parametrize("maker_confined", [False, True])
def test_a_reused_number_is_not_the_callers(machine, maker_confined):
    attack(machine, machine.client(OWNER, maker_confined))


def test_a_number_that_is_reused_after_the_service_came(own_machine):
    machine = own_machine()
    assert machine.service.stop() == ""
    maker = machine.client(OWNER)
    machine.service = Service(machine.bus, polkit_ms=1000)
    machine.await_service()
    attack(machine, maker)


def test_nobody_but_the_bus_says_who_comes_and_leaves(machine):
    # The bus policy lets root alone send us signals.
    maker, liar = machine.client(OWNER), machine.client(0, confined=True)

    def lie():
        name = maker.name
        for change in ([name, name, ""], [name, "", name]):
            liar.send_raw(dbus.message(dbus.SIGNAL, next(liar.serials), "sss", change, path="/org/freedesktop/DBus",
                                       interface="org.freedesktop.DBus", member="NameOwnerChanged",
                                       destination="org.wrapd1"))
        liar.manager("ListSessions")  # by when the lies have come

    attack(machine, maker, lie)


def test_who_was_there_before_the_service_may_call(own_machine):
    machine = own_machine()
    early = machine.client(OWNER)
    assert machine.service.stop() == ""
    machine.service = Service(machine.bus, polkit_ms=1000)
    machine.await_service()
    machine.service.order(f"add {SESSION} {OWNER} x")
    terminate(early)
    assert machine.service.order("reset") == [f"terminate {SESSION} by uid {OWNER}"]


def test_a_maker_that_has_gone_is_not_looked_up_again(machine):
    """Also when somebody takes its number between two calls."""
    machine.service.order(f"add {SESSION} {OWNER} x")
    maker = machine.client(OWNER)
    maker.manager("ListSessions")
    attack(machine, maker)


def test_who_comes_and_leaves_is_no_activity(machine):
    machine.client(OTHER).manager("ListSessions")
    before = int(machine.service.order("calls")[0])
    for _ in range(5):
        machine.dismiss(machine.client(OTHER))
    machine.client(OTHER).manager("ListSessions")  # by when they have come and left
    assert int(machine.service.order("calls")[0]) == before + 1
