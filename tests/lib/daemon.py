# SPDX-License-Identifier: Apache-2.0
"""A real wrapd, started by systemd-socket-activate, and peers with uids of their own.

Nothing here waits for time to pass: the service's readiness comes from its notification socket, what a peer is told
from its socket, what is recorded from the service's stderr."""

import ctypes
import json
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lib.peers import PATIENCE, Peer

WRAPD = os.environ.get("WRAPD_TEST_WRAPD", "")
KEEPER = Path(WRAPD or "wrapd").with_name("wrapd-keeper")
SUPERVISOR = os.environ.get("WRAPD_TEST_SUPERVISOR", "")
PROBE = Path(__file__).with_name("probe_supervisor.py")  # in a supervisor's place: tells what it was given

POLICY = """version: 1
name: {name}
sandbox:
  seccomp: {{enabled: true, mode: enforce}}
unix_socket_rules:
  - {{name: any, paths: ["{path}"], operations: [connect], decision: allow}}
"""


def pytest_collection_modifyitems(items):
    reason = None
    if os.geteuid() != 0:
        reason = "needs root: several real uids"
    elif not WRAPD:
        reason = "WRAPD_TEST_WRAPD names no program"
    elif not shutil.which("systemd-socket-activate"):
        reason = "needs systemd-socket-activate"
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


class Service:
    def __init__(self, root, supervisor, prefix=()):
        self.root = root
        self.runtime = root / "run"
        self.control = root / "control"
        self.policies = root / "policies"
        self.vendor = root / "vendor"
        self.config = root / "wrapd.yaml"
        self.log = root / "log"
        self.subuid = root / "subuid"  # not there
        self.supervisor = supervisor
        self.prefix = list(prefix)
        self.process = None
        self.peers = []
        self.notifications = Notifications(root / "notify")
        self.policies.mkdir()
        self.vendor.mkdir()
        self.write_policy("default")

    def write_policy(self, name, path="/run/x/*.sock", directory=None, file=None, text=None, mode=0o644):
        target = (directory or self.policies) / (file or f"{name}.yaml")
        target.write_text(text if text is not None else POLICY.format(name=name, path=path))
        target.chmod(mode)
        return target

    def launch(self):
        """Starts systemd-socket-activate, which becomes wrapd at the first connection."""
        command = [*self.prefix, "systemd-socket-activate", "--seqpacket", "--fdname=wrapd-control",
                   f"--listen={self.control}", f"-ENOTIFY_SOCKET={self.root / 'notify'}", WRAPD,
                   f"--config={self.config}", f"--policy-dir={self.policies}", f"--vendor-policy-dir={self.vendor}",
                   f"--runtime-dir={self.runtime}", f"--supervisor={self.supervisor}",
                   f"--keeper={KEEPER}", f"--subuid={self.subuid}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # It says on stderr that it listens; the name appears with bind(2), a moment earlier.
        self.wait_for_log("Listening on")
        self.control.chmod(0o666)

    def start(self):
        self.launch()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as kick:
            kick.connect(str(self.control))
            self.wait_for_notification("READY=1")
        return self

    def wait_for_notification(self, what):
        while True:
            text = self.notifications.get()
            if what in text.splitlines():
                return text

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_notification("RELOADING=1")
        return self.wait_for_notification("READY=1")

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for_log(self, what, count=1):
        deadline = time.monotonic() + PATIENCE
        with select.epoll() as epoll, Watch(self.log) as watch:
            epoll.register(watch.fd, select.EPOLLIN)
            while self.text().count(what) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{what!r} is not in the log:\n{self.text()}"
                epoll.poll(left)
                watch.drain()

    def events(self, kind=None):
        found = []
        for line in self.text().splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if kind in (None, event["type"]):
                    found.append(event)
        return found

    def wait_for_event(self, kind, count=1):
        self.wait_for_log(f'"type":"{kind}"', count)
        return self.events(kind)

    def sessions(self):
        return sorted(p.name for p in (self.runtime / "sessions").iterdir())

    def wait_for_no_sessions(self):
        deadline = time.monotonic() + PATIENCE
        with select.epoll() as epoll, Watch(self.runtime / "sessions") as watch:
            epoll.register(watch.fd, select.EPOLLIN)
            while self.sessions():
                left = deadline - time.monotonic()
                assert left > 0, f"still there: {self.sessions()}"
                epoll.poll(left)
                watch.drain()

    def peer(self, uid, **how):
        self.peers.append(Peer(self.control, uid, **how))
        return self.peers[-1]

    def stop(self):
        for peer in self.peers:
            peer.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self.notifications.close()


class Notifications:
    """The manager's end of NOTIFY_SOCKET, read all the time: a service must not find it full. What it is asked to store
    is let go."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.texts = queue.Queue()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while True:
            text, fds, _, _ = socket.recv_fds(self.socket, 4096, 16)
            for fd in fds:
                os.close(fd)
            if not text:
                return
            self.texts.put(text.decode())

    def get(self):
        return self.texts.get(timeout=PATIENCE)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.socket.getsockname())
        self.thread.join(PATIENCE)
        self.socket.close()


class Watch:
    """inotify(7) on one path."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        modify, create, delete = 0x2, 0x100, 0x200
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), modify | create | delete) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def drain(self):
        try:
            os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


@pytest.fixture
def make_service(users):
    """Makes a service that is not started yet."""
    made = []

    def make(supervisor=SUPERVISOR, prefix=()):
        root = Path(tempfile.mkdtemp(prefix="wrapd-test-"))
        root.chmod(0o755)
        # Where there is a journal, the test's own view of the machine has none: records go to stderr.
        hide = ["unshare", "--mount", "sh", "-ec", 'mount -n -t tmpfs none /run/systemd/journal; exec "$@"', "sh"]
        journal = Path("/run/systemd/journal/socket").exists()
        made.append(Service(root, supervisor, [*(hide if journal else []), *prefix]))
        return made[-1]

    yield make
    for service in made:
        service.stop()
        shutil.rmtree(service.root)
