# SPDX-License-Identifier: Apache-2.0
"""OpenSession: the options are held against the control socket's rules, the connection comes with the answer."""

import os
import socket

import pytest

from lib import dbus
from lib.bus import OWNER, session_path

V = dbus.Variant
OPTIONS = {"command": V("s", "true"), "cwd": V("s", "/")}


def open_session(client, options=OPTIONS):
    path, index, properties = client.manager("OpenSession", "a{sv}", [options])
    connection, = client.take_fds()
    assert index == 0
    return path, socket.socket(fileno=connection), properties


def refused(client, options=OPTIONS):
    with pytest.raises(dbus.Failure) as failed:
        client.manager("OpenSession", "a{sv}", [options])
    assert client.take_fds() == []
    return failed.value.name


def test_the_answer_brings_a_connection(machine):
    client = machine.client(OWNER)
    path, connection, properties = open_session(client, {**OPTIONS, "profile": V("b", 1), "policy": V("s", "default"),
                                                         "events": V("b", 1), "traps": V("as", ["sockets", "rename_link"])})
    with connection:
        assert connection.family == socket.AF_UNIX and connection.type == socket.SOCK_SEQPACKET
        assert connection.getblocking()
        assert path == session_path(properties["Id"]) and properties["Policy"] == "default"
        told = machine.service.order("reset")
        assert told == [f"open {properties['Id']} {OWNER} {OWNER} {client.pid} profile true"]
        # The service's end is gone with the session, and was the only one: nobody else keeps the connection.
        connection.settimeout(dbus.PATIENCE)
        assert connection.recv(1) == b""


def test_a_group_that_came_later_is_not_the_callers(machine):
    """What the process is now must fit to what it was when it connected: it may have run a set-group-ID program."""
    client = machine.client(OWNER, later_group=OWNER + 40)
    assert refused(client) == "Confined"
    assert machine.service.order("reset") == []


def test_options_are_strict(machine):
    client = machine.client(0)  # without a budget
    for options in ({}, {"command": V("s", "true")}, {**OPTIONS, "cwd": V("s", "relative")},
                    {**OPTIONS, "cwd": V("s", "/a/../b")}, {**OPTIONS, "policy": V("s", "../p")},
                    {**OPTIONS, "unknown": V("s", "x")}, {**OPTIONS, "traps": V("as", ["files"])},
                    {**OPTIONS, "traps": V("as", ["sockets", "sockets"])}, {**OPTIONS, "traps": V("s", "sockets")},
                    {**OPTIONS, "events": V("s", "true")}, {**OPTIONS, "command": V("v", V("s", "true"))},
                    [*OPTIONS.items(), ("cwd", V("s", "/other"))], {**OPTIONS, "profile": V("u", 1)}):
        assert refused(client, options) == "InvalidArgument"
    assert machine.service.order("reset") == []


def test_a_long_command_is_cut(machine):
    client = machine.client(OWNER)
    open_session(client, {**OPTIONS, "command": V("s", "x" * 9000)})[1].close()
    assert len(machine.service.order("reset")[0]) < 4300


def test_a_policy_is_checked_by_its_text(machine):
    client = machine.client(OWNER)
    assert client.manager("CheckPolicy", "s", ["version: 1\n" + "#" * 50000]) == [["1:1: bad"]]
    with pytest.raises(dbus.Failure) as failed:
        client.manager("CheckPolicy", "s", ["#" * 70000])
    assert failed.value.name == "LimitExceeded"


def test_connections_are_not_inherited_by_what_the_service_starts(machine):
    """sdbus-c++ duplicates descriptors without CLOEXEC: none of those may be left."""
    client = machine.client(OWNER)
    connections = [open_session(client)[1] for _ in range(3)]
    for fd in os.listdir(f"/proc/{machine.service.pid}/fd"):
        # The test's pipes to it are 0 to 2; listing took a look at one that is gone by now.
        if int(fd) > 2 and os.path.exists(f"/proc/{machine.service.pid}/fdinfo/{fd}"):
            text = open(f"/proc/{machine.service.pid}/fdinfo/{fd}", encoding="ascii").read()
            flags = int(next(line for line in text.splitlines() if line.startswith("flags:")).split()[1], 8)
            assert flags & os.O_CLOEXEC, os.readlink(f"/proc/{machine.service.pid}/fd/{fd}")
    for connection in connections:
        connection.close()
