# SPDX-License-Identifier: Apache-2.0
"""A private dbus-daemon with the system bus's configuration and the shipped bus policy, the API on a service in memory,
a stand-in for polkit that answers as it is told, and clients with uids of their own.

Nothing here waits for time to pass: everything that happens is seen on a socket or a pipe."""

import ctypes
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from lib import dbus
from lib.processes import fork_as

ROOT = Path(__file__).resolve().parents[2]
SERVICE = os.environ.get("WRAPD_TEST_API_SERVICE", "")
SYSTEM_CONF = Path("/usr/share/dbus-1/system.conf")
OWNER, OTHER = 1, 2  # daemon and bin: the bus wants users that have an entry
PR_SET_NO_NEW_PRIVS = 38
POLKIT = "org.freedesktop.PolicyKit1"


SESSION = "0123456789abcdef0123456789abcdef"
QUESTION = "fedcba9876543210"


def session_path(session):
    return f"/org/wrapd1/session/{session}"


def table():
    """The methods that the service offers, as its own table declares them."""
    return json.loads(subprocess.run([SERVICE, "--table"], check=True, capture_output=True).stdout) if SERVICE else []


class Bus:
    def __init__(self, directory, more=""):
        self.path = directory / "bus"
        self.address = f"unix:path={self.path}"
        conf = SYSTEM_CONF.read_text()
        conf = re.sub(r"<!--.*?-->", "", conf, flags=re.S)
        conf = re.sub(r"<(user|pidfile|servicehelper|listen)>.*?</\1>", "", conf)
        conf = re.sub(r"<(fork|syslog|keep_umask|standard_system_servicedirs)/>", "", conf)
        conf = re.sub(r"<include(dir)?\b.*?</include(dir)?>", "", conf)
        # The service in memory and the stand-in for polkit run as root.
        extra = (f"<listen>{self.address}</listen>"
                 f"<include>{ROOT / 'daemon/bus/data/org.wrapd1.conf'}</include>"
                 f'<policy user="root"><allow own="{POLKIT}"/><allow send_destination="{POLKIT}"/></policy>{more}')
        self.conf = directory / "bus.conf"
        self.conf.write_text(conf.replace("</busconfig>", extra + "</busconfig>"))
        directory.chmod(0o755)
        self.start()

    def start(self):
        self.path.unlink(missing_ok=True)
        read, write = os.pipe()
        # It writes a line for every message that it refuses.
        with open(self.conf.with_name("log"), "ab") as log:
            self.process = subprocess.Popen(
                ["dbus-daemon", f"--config-file={self.conf}", "--nofork", f"--print-address={write}"],
                pass_fds=[write], stderr=log)
        os.close(write)
        assert os.read(read, 1024), "the bus did not start"
        os.close(read)
        self.path.chmod(0o666)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Client(dbus.Connection):
    """A connection whose peer is a process of its own with the uid `uid`, and the number `number` if that is given."""

    def __init__(self, bus, uid, confined=False, later_group=None, number=None):
        ours, theirs = socket.socketpair()
        self.pid = fork_as(number)
        if self.pid == 0:
            try:
                os.closerange(3, theirs.fileno())
                os.closerange(theirs.fileno() + 1, 65536)
                os.setgroups([])
                os.setresgid(uid, uid, later_group or uid)
                os.setresuid(uid, uid, uid)
                if confined:
                    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                connected = socket.socket(socket.AF_UNIX)
                connected.connect(str(bus.path))
                if later_group:
                    os.setresgid(-1, later_group, -1)
                socket.send_fds(theirs, [b"ok"], [connected.fileno()])
                theirs.recv(1)
            finally:
                os._exit(0)
        theirs.close()
        _, fds, _, _ = socket.recv_fds(ours, 16, 1)
        self.leash = ours
        self.uid = uid
        super().__init__(socket.socket(fileno=fds[0]), uid)

    def end_process(self):
        """Whoever else has the connection keeps it."""
        if self.leash.fileno() >= 0:
            self.leash.close()
            os.waitpid(self.pid, 0)

    def close(self):
        super().close()
        self.end_process()


class Polkit:
    """Answers every CheckAuthorization as `mode` says: yes, no, challenge, dismissed, hang. Tells what it was asked."""

    def __init__(self, bus):
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(bus.path))
        self.connection = dbus.Connection(connected, 0)
        self.mode, self.asked, self.cancelled, self.waiting = "no", queue.Queue(), queue.Queue(), []
        assert self.connection.driver("RequestName", "su", [POLKIT, 4]) == [1]
        self.replies = queue.Queue()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def leave(self):
        self.name("ReleaseName", "s", [POLKIT])

    def come_back(self):
        self.name("RequestName", "su", [POLKIT, 4])

    def name(self, member, signature, args):
        self.connection.send("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, signature,
                             args)
        assert self.replies.get(timeout=dbus.PATIENCE).body == [1]

    def serve(self):
        try:
            while True:
                message = self.connection.receive(timeout=3600)
                if message.kind == dbus.RETURN:
                    self.replies.put(message)
                if message.kind != dbus.CALL:
                    continue
                if message.member == "CancelCheckAuthorization":
                    self.cancelled.put(message.body[0])
                    continue
                subject, action, details, flags, cancellation = message.body
                self.waiting.append(message)
                if self.mode != "hang":
                    self.answer(message, self.mode)
                self.asked.put({"subject": subject, "action": action, "details": details, "flags": flags,
                                "cancellation": cancellation, "message": message})
        except (ConnectionError, OSError):
            return

    def answer(self, message, mode):
        details = {"polkit.dismissed": "true"} if mode == "dismissed" else {}
        self.connection.reply(message, "(bba{ss})", [(mode == "yes", mode in ("challenge", "dismissed"), details)])

    def question(self):
        return self.asked.get(timeout=dbus.PATIENCE)

    def forget(self):
        for each in (self.asked, self.cancelled):
            while not each.empty():
                each.get()

    def close(self):
        if self.thread.is_alive():
            self.connection.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()


class Service:
    def __init__(self, bus, polkit_ms, retry_ms=20):
        self.process = subprocess.Popen([SERVICE, str(polkit_ms), str(retry_ms)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
                                        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address,
                                             # Where memory is measured, what was freed must go.
                                             "ASAN_OPTIONS": ":".join(filter(None, (
                                                 os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=0",
                                                 "thread_local_quarantine_size_kb=0")))})
        self.pid = self.process.pid

    def order(self, line):
        """What the API made the service do since the last order."""
        self.process.stdin.write(line + "\n")
        told = []
        while True:
            answer = self.process.stdout.readline().strip()
            assert answer, "the service died"
            if answer == "ok":
                return told
            told.append(answer)

    def stop(self):
        """Ends it and returns what it wrote to stderr; nothing once it has ended."""
        if self.process.returncode is not None:
            return ""
        _, errors = self.process.communicate("stop\n", timeout=dbus.PATIENCE)
        assert self.process.returncode == 0, (self.process.returncode, errors)
        return errors


class Machine:
    def __init__(self, polkit_ms=60000, retry_ms=20, bus_policy=""):
        # Not pytest's: others than root must get there.
        self.directory = Path(tempfile.mkdtemp(prefix="wrapd-bus-"))
        self.bus = Bus(self.directory, bus_policy)
        self.clients = []
        self.watcher = self.client(0)
        self.watcher.driver("AddMatch", "s", ["type='signal',sender='org.freedesktop.DBus',arg0='org.wrapd1'"])
        self.polkit = Polkit(self.bus)
        self.service = Service(self.bus, polkit_ms, retry_ms)
        self.await_service()

    def await_service(self, watcher=None):
        watcher = watcher or self.watcher
        if watcher.driver("NameHasOwner", "s", ["org.wrapd1"]) == [False]:
            watcher.wait(lambda m: m.member == "NameOwnerChanged" and m.body[0] == "org.wrapd1" and m.body[2])

    def client(self, uid, confined=False, later_group=None, number=None):
        client = Client(self.bus, uid, confined, later_group, number)
        self.clients.append(client)
        return client

    def dismiss(self, client):
        self.clients.remove(client)
        client.close()

    def stop(self):
        errors = self.service.stop()
        for client in self.clients:
            client.close()
        self.polkit.close()
        self.bus.stop()
        shutil.rmtree(self.directory)
        return errors
