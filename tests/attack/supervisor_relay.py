# SPDX-License-Identifier: Apache-2.0
"""Stands between the service and a real wrap-supervisor: passes everything on, tells the test what the supervisor
reports, and gives the supervisor the test's orders.

Usage: supervisor_relay.py SUPERVISOR DIRECTORY. The service is descriptor 3; the test connects to DIRECTORY/orders."""

import array
import os
import select
import socket
import sys

program, directory = sys.argv[1:3]
service = socket.socket(fileno=3)
text, ancillary, _, _ = service.recvmsg(1 << 17, socket.CMSG_SPACE(32 * 4))
if not text:
    sys.exit(0)  # kept in reserve, and not needed
fds = array.array("i")
for _, _, data in ancillary:
    fds.frombytes(data)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
pid = os.fork()
if pid == 0:
    os.dup2(theirs.fileno(), 3)
    os.closerange(4, 256)
    os.execv(program, ["wrap-supervisor"])
theirs.close()
ours.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
for fd in fds:
    os.close(fd)
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.bind(directory + "/orders")
door.listen()
test, kept = None, []
while True:
    wait = [ours, door] + ([test] if test else [])
    for ready in select.select(wait, [], [])[0]:
        if ready is door:
            test, _ = door.accept()
            for report in kept:
                test.send(report)
        elif ready is ours:
            report = ours.recv(1 << 17)
            if not report:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            service.send(report)
            if test:
                test.send(report)
            else:
                kept.append(report)
        else:
            order = test.recv(1 << 17)
            if order == b"hang up":
                ours.shutdown(socket.SHUT_WR)
            elif order:
                ours.send(order)
            else:
                test.close()
                test = None
