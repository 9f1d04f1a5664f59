# SPDX-License-Identifier: Apache-2.0
"""OpenSession: the connection must be the caller's own, the options are held against the control socket's rules."""

import os
import socket

import pytest

import wire
from conftest import OTHER, OWNER, sealed, session_path

V = wire.Variant
OPTIONS = {"command": V("s", "true"), "cwd": V("s", "/")}


def open_session(client, fds, options=OPTIONS):
    return client.manager("OpenSession", "ha{sv}", [0, options], fds=fds)


def refused(client, fds, options=OPTIONS):
    with pytest.raises(wire.Failure) as failed:
        open_session(client, fds, options)
    return failed.value.name


def test_a_session_is_opened_on_the_callers_socket(machine):
    client = machine.client(OWNER)
    profile = sealed(b"x")
    path, properties = open_session(client, [client.pair[0].fileno(), profile],
                                    {**OPTIONS, "profile": V("h", 1), "policy": V("s", "default"),
                                     "events": V("b", 1), "trap_unix_sockets": V("b", 1)})
    os.close(profile)
    assert path == session_path(properties["Id"]) and properties["Policy"] == "default"
    told = machine.service.order("reset")
    assert told == [f"open {properties['Id']} {OWNER} {OWNER} {client.pid} profile true"]
    # The service's copy is gone with the session: nobody else keeps the connection.
    client.pair[0].close()
    client.pair[1].settimeout(wire.PATIENCE)
    assert client.pair[1].recv(1) == b""


def test_somebody_elses_socket_is_refused(machine):
    client = machine.client(OWNER)
    stranger, same_user = machine.client(OTHER), machine.client(OWNER)
    ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (stranger.pair[0], same_user.pair[0], ours[0]):
        assert refused(client, [end.fileno()]) == "NotPermitted"
    assert machine.service.order("reset") == []


def test_what_is_no_socketpair_is_refused(machine, tmp_path):
    client = machine.client(OWNER)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    stream = socket.socketpair()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    pipe = os.pipe()
    for fd in (listening.fileno(), stream[0].fileno(), udp.fileno(), pipe[0], os.open("/dev/null", os.O_RDONLY),
               os.open("/", os.O_PATH), os.memfd_create("x")):
        assert refused(client, [fd]) == "InvalidArgument"


def test_options_are_strict(machine):
    client = machine.client(OWNER)
    pair = client.pair[0].fileno()
    for options in ({}, {"command": V("s", "true")}, {**OPTIONS, "cwd": V("s", "relative")},
                    {**OPTIONS, "cwd": V("s", "/a/../b")}, {**OPTIONS, "policy": V("s", "../p")},
                    {**OPTIONS, "unknown": V("s", "x")},
                    {**OPTIONS, "events": V("s", "true")}, {**OPTIONS, "command": V("v", V("s", "true"))},
                    [*OPTIONS.items(), ("cwd", V("s", "/other"))], {**OPTIONS, "profile": V("b", 1)}):
        assert refused(client, [pair], options) == "InvalidArgument"
    assert machine.service.order("reset") == []


def test_a_long_command_is_cut(machine):
    client = machine.client(OWNER)
    open_session(client, [client.pair[0].fileno()], {**OPTIONS, "command": V("s", "x" * 9000)})
    assert len(machine.service.order("reset")[0]) < 4300


def test_descriptors_of_others_are_not_inherited_by_what_the_service_starts(machine):
    """sdbus-c++ duplicates descriptors without CLOEXEC: none of those may be left."""
    client = machine.client(OWNER)
    for _ in range(3):
        profile = sealed(b"x")
        open_session(client, [client.pair[0].fileno(), profile], {**OPTIONS, "profile": V("h", 1)})
        client.manager("CheckPolicy", "h", [0], fds=[profile])
        os.close(profile)
    for fd in os.listdir(f"/proc/{machine.service.pid}/fd"):
        # The test's pipes to it are 0 to 2; listing took a look at one that is gone by now.
        if int(fd) > 2 and os.path.exists(f"/proc/{machine.service.pid}/fdinfo/{fd}"):
            text = open(f"/proc/{machine.service.pid}/fdinfo/{fd}", encoding="ascii").read()
            flags = int(next(line for line in text.splitlines() if line.startswith("flags:")).split()[1], 8)
            assert flags & os.O_CLOEXEC, os.readlink(f"/proc/{machine.service.pid}/fd/{fd}")
