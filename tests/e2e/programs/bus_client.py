# SPDX-License-Identifier: Apache-2.0
"""bus_client.py OPTIONS ADDRESS...: a client of wrapd that comes over the bus instead of wrap, the whole way: asks
org.wrapd1.Manager.OpenSession with the options (JSON), hands over a child under the session's filter, and lets that
connect to each address (connect.py's output). Then prints the summary. Needs /usr/local/e2e/dbus.py."""

import ctypes
import json
import os
import socket
import struct
import sys

import dbus

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, NEW_LISTENER, WAIT_KILLABLE_RECV = 1, 8, 32
NUMBERS = {"x86_64": (317, 438), "aarch64": (277, 438)}[os.uname().machine]  # seccomp, pidfd_getfd
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def install(filter_):
    """The listener's number."""
    program = ctypes.create_string_buffer(filter_, len(filter_))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(filter_) // 8, ctypes.addressof(program)))
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    return checked(libc.syscall(NUMBERS[0], SECCOMP_SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE_RECV, header))


def child(filter_, told, go, addresses):
    os.write(told, struct.pack("=i", install(filter_)))
    if os.read(go, 1) == b"!":
        os.execv("/usr/bin/python3", ["python3", "/usr/local/e2e/connect.py", *addresses])
    os._exit(125)


def hand_over(reply, kind, fd):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(f"{reply['directory']}/{kind}.sock")
    number = {"notify": 1, "signal": 2}[kind]
    socket.send_fds(connection, [struct.pack("=4sBBH64s", b"WRPH", 1, number, 0, reply["tokens"][kind].encode())], [fd])
    return connection


def main(options, *addresses):
    system = socket.socket(socket.AF_UNIX)
    system.connect("/run/dbus/system_bus_socket")
    bus = dbus.Connection(system, os.getuid())
    values = {key: dbus.Variant("b" if isinstance(value, bool) else "s", value)
              for key, value in json.loads(options).items()}
    try:
        path, _, properties = bus.manager("OpenSession", "a{sv}", [values])
    except dbus.Failure as failure:
        sys.exit(f"{failure.name}: {failure.text}")
    connection = socket.socket(fileno=bus.take_fds()[0])
    text, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    reply = json.loads(text)
    assert path == f"/org/wrapd1/session/{reply['id']}" and properties["Id"] == reply["id"], (path, properties, reply)
    filter_ = os.pread(fds[0], 65536, 0)
    (told, tell), (go, start) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(start)
        child(filter_, tell, go, addresses)
    os.close(go)
    pidfd = os.pidfd_open(pid)
    listener = checked(libc.syscall(NUMBERS[1], pidfd, struct.unpack("=i", os.read(told, 4))[0], 0))
    handed = [hand_over(reply, "notify", listener), hand_over(reply, "signal", pidfd)]
    os.close(listener)
    assert [one.recv(1) for one in handed] == [b"\x06"] * 2
    os.write(start, b"!")
    os.close(start)
    os.waitpid(pid, 0)
    try:
        connection.send(json.dumps({"version": 1, "request": "finish"}).encode())
    except BrokenPipeError:
        pass  # the summary came unasked, with the end of the last task
    print(connection.recv(65536).decode())


main(*sys.argv[1:])
