#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Takes the place of wrap-supervisor in tests of the service alone.

It tells the client what it was given, and then does what the request's command asks for: also what the real one never
does, such as dying at once or reporting nonsense."""

import array
import json
import os
import select
import signal
import socket
import stat
import time

service = os.getppid()
channel = socket.socket(fileno=3)
text, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC)
if b"KILL-SERVICE-AT-CONFIG" in text:
    os.kill(service, signal.SIGKILL)  # before anything else: the service has just sent it
fds = array.array("i")
for _, _, data in ancillary:
    fds.frombytes(data)
config = json.loads(text)
command = json.dumps(config)


def kind(fd):
    mode = os.fstat(fd).st_mode
    return os.readlink(f"/proc/self/fd/{fd}") if not stat.S_ISSOCK(mode) else "socket"


status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
seen = {
    "config": config,
    "fds": [kind(fd) for fd in fds],
    "others": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) not in fds and os.path.exists(f"/proc/self/fd/{fd}")),
    "environment": open("/proc/self/environ").read(),
    "blocked": status["SigBlk"],
    "ignored": status["SigIgn"],
    "pid": os.getpid(),
}
control = socket.socket(fileno=fds[0])


def say(what, **fields):
    channel.send(json.dumps({"version": 1, "report": what, **fields}).encode())


def report(state):
    say("state", state=state)
    if f"KILL-SERVICE-AT-{state.upper()}" in command:
        kill_service()


def kill_service():
    """As a crash at this very moment would."""
    try:
        os.kill(service, signal.SIGKILL)
    except ProcessLookupError:
        pass


def until_peer_closes():
    """Obeys the service, tells the client what was ordered, and does what the client says meanwhile."""
    control.setblocking(True)
    polled = [control, channel]
    state = "running" if "RUN" in command else "ready"
    while True:
        readable, _, _ = select.select(polled, [], [])
        if channel in readable:
            text = channel.recv(65536)
            if not text:
                polled.remove(channel)  # the service is gone for good
                continue
            order = json.loads(text)
            control.send(json.dumps({"order": order}).encode())
            if order["order"] == "report":
                report(state)
                say("counters", allowed=1, denied=2, audited=0, lost=0)
            if order["order"] == "terminate" and "DEAF" not in command:
                report("terminating")
                return
        if control in readable:
            text = control.recv(65536)
            if not text:
                return
            channel.send(text)  # whatever the test wants to be reported


signal.signal(signal.SIGPIPE, signal.SIG_IGN)
if "DIE-FIRST" in command:
    os._exit(3)
report("ready")
control.send(json.dumps(seen).encode())
if "DIE-READY" in command:
    os.kill(os.getpid(), signal.SIGKILL)
if "NONSENSE" in command:
    report("?")
    time.sleep(60)  # the service ends us
if "RUN" in command:
    report("running")
until_peer_closes()
if "RUN" in command:
    report("finished")
