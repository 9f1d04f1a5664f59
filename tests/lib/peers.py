# SPDX-License-Identifier: Apache-2.0
"""Processes of other users that are connected to the service."""

import array
import json
import os
import socket

PATIENCE = 20.0


def request(**fields):
    return json.dumps({"version": 1, "request": "open", "command": "true", "cwd": "/", **fields}).encode()


class Peer:
    """A process of another uid that is connected to `path`; the test speaks through its socket."""

    def __init__(self, path, uid, gid=None, groups=(), before=None, after=None):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                # The test's other sockets: a copy here would keep them open.
                os.closerange(3, theirs.fileno())
                os.closerange(theirs.fileno() + 1, 65536)
                if before:
                    before()
                os.setgroups(list(groups))
                os.setresgid(*[uid if gid is None else gid] * 3)
                os.setresuid(uid, uid, uid)
                if after:
                    after()
                connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                try:
                    connected.connect(str(path))
                except OSError as error:
                    theirs.send(str(error.errno).encode())
                    os._exit(0)
                socket.send_fds(theirs, [b"ok"], [connected.fileno()])
                connected.close()
                theirs.recv(1)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001: whatever it is, the test has to see it
                theirs.send(repr(error).encode())
                os._exit(1)
        theirs.close()
        self.leash = ours
        ours.settimeout(PATIENCE)
        text, fds, _, _ = socket.recv_fds(ours, 4096, 1)
        self.errno = None
        self.socket = None
        if text == b"ok":
            self.socket = socket.socket(fileno=fds[0])
            self.socket.settimeout(PATIENCE)
        elif text.isdigit():
            self.errno = int(text)
        else:
            raise RuntimeError(f"peer failed: {text!r}")

    def send(self, text, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([text], ancillary)

    def receive(self):
        """The next message as an object, or None at the end of the connection."""
        while True:
            try:
                text = self.socket.recv(1 << 17)
                return json.loads(text) if text else None
            except ConnectionResetError:
                continue  # told once; what was sent before is still there

    def ask(self, fds=(), **fields):
        self.send(request(**fields), fds)
        return self.receive()

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None
        self.leash.close()
        if self.pid:
            os.waitpid(self.pid, 0)
            self.pid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
