# SPDX-License-Identifier: Apache-2.0
"""What PID 1 is to the service, and no more: it listens for it, keeps descriptors for it, and starts it anew."""

import os
import queue
import signal
import socket
import threading

from lib.peers import PATIENCE


class Manager:
    def __init__(self, control, notify, command, log, environment=()):
        self.command = [str(word) for word in command]
        self.log = log
        self.environment = dict(environment)
        self.store = []  # (name, descriptor)
        self.loses = False  # what is to be stored is lost, as in a store that is full
        self.messages = queue.Queue()
        self.lock = threading.Condition()
        self.pid = 0
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.bind(str(control))
        os.chmod(control, 0o666)
        self.control.listen(1024)
        self.notify_path = str(notify)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while True:
            text, fds, _, _ = socket.recv_fds(self.notify, 4096, 16)
            if not text:
                return
            fields = dict(line.split("=", 1) for line in text.decode().splitlines())
            with self.lock:
                if fields.get("FDSTORE") == "1" and not self.loses:
                    self.store += [(fields["FDNAME"], fd) for fd in fds]
                else:
                    for fd in fds:
                        os.close(fd)
                if fields.get("FDSTOREREMOVE") == "1":
                    for name, fd in self.store:
                        if name == fields["FDNAME"]:
                            os.close(fd)
                    self.store = [entry for entry in self.store if entry[0] != fields["FDNAME"]]
                self.lock.notify_all()
            self.messages.put(fields)

    def keep(self, name, *fds):
        with self.lock:
            self.store += [(name, os.dup(fd)) for fd in fds]

    def stored(self):
        with self.lock:
            return sorted({name for name, _ in self.store})

    def holds(self, names):
        """Waits until exactly these are stored."""
        names = set(names)
        with self.lock:
            done = self.lock.wait_for(lambda: {name for name, _ in self.store} == names, PATIENCE)
            assert done, f"{sorted({name for name, _ in self.store})} are stored, not {sorted(names)}"

    def start(self):
        with self.lock:
            passed = [("wrapd-control", self.control.fileno()), *self.store]
            # Beyond where they are to be, so that no dup2 overwrites one that is still to come.
            high = [os.dup(fd) for _, fd in passed]
            floor = 3 + len(passed)
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    import fcntl
                    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, floor) for fd in high]
                    for index, fd in enumerate(high):
                        os.dup2(fd, 3 + index)
                    os.closerange(floor, 65536)
                    log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                    os.dup2(log, 1)
                    os.dup2(log, 2)
                    if log > 2:
                        os.close(log)
                    os.execve(self.command[0], self.command, {
                        "NOTIFY_SOCKET": self.notify_path, "LISTEN_PID": str(os.getpid()),
                        "LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
                        **self.environment})
                finally:
                    os._exit(127)
            for fd in high:
                os.close(fd)

    def wait_for(self, key, value=None):
        """The next message with this field; with this text in it, if any is given."""
        while True:
            fields = self.messages.get(timeout=PATIENCE)
            if key in fields and (value is None or value in fields[key]):
                return fields

    def started(self):
        self.start()
        return self.wait_for("READY")["STATUS"]

    def settle(self):
        """Takes in everything that was sent before, as PID 1 does before it looks at a process that has ended."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"MARK=1", self.notify_path)
        self.wait_for("MARK")

    def wait_for_end(self):
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        self.settle()
        return os.waitstatus_to_exitcode(status)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        return self.wait_for_end()

    def close(self):
        if self.pid:
            self.kill(signal.SIGTERM)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self.notify_path)
        self.reader.join(PATIENCE)
        for _, fd in self.store:
            os.close(fd)
        self.notify.close()
        self.control.close()
