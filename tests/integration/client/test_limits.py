# SPDX-License-Identifier: Apache-2.0
"""A standalone supervisor under its user's own limits: it starts with what it needs or not at all, and what it cannot
have later is refused, not fatal."""

import ctypes
import os
import resource
import socket
import subprocess
import tempfile

import pytest

from lib.sessions import COMPILE, WRAP

PR_SET_CHILD_SUBREAPER = 36
USER = 64025  # nobody else's: the limit of processes is the user's

QUICK = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1] + "/quick"); print("ok")
"""

# Two threads connect to a full server; then, with no further thread to be had, others are answered.
WAITING = """
import errno, os, socket, sys, threading, time
place = sys.argv[1]
ended, changed = [], threading.Condition()
def wait():
    s = socket.socket(socket.AF_UNIX)
    try: s.connect(place + "/full"); how = "ok"
    except OSError as e: how = errno.errorcode[e.errno]
    with changed: ended.append(how); changed.notify_all()
go = threading.Event()
threads = [threading.Thread(target=lambda: (go.wait(), wait()), daemon=True) for _ in range(3)]
for t in threads: t.start()
print(os.getppid(), flush=True); sys.stdin.readline()
go.set()
def quick(): s = socket.socket(socket.AF_UNIX); s.connect(place + "/quick")
with changed:
    while len(ended) < 2: changed.wait()
for _ in range(50): quick()
print(sorted(ended), flush=True)
os._exit(0)
"""


def as_user(**limits):
    def prepare():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    return prepare


def wrapped(place, program):
    return [WRAP, "--compile", COMPILE, "--standalone", "--profile", place + "/p.yaml", "--quiet", "--",
            "/usr/bin/python3", "-c", program, place]


def reap():
    """Supervisors end a moment after wrap, and count for the limit until they are reaped."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


@pytest.fixture
def reaper():
    """Orphans are children of the test."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a user of its own")
def test_a_supervisor_under_limits(reaper):
    with tempfile.TemporaryDirectory(prefix="wrapd-limits-") as place:
        os.chmod(place, 0o755)
        with open(place + "/p.yaml", "w") as file:
            file.write(f'version: 1\nname: p\nunix_socket_rules: [{{name: y, paths: ["{place}/**"], decision: allow}}]\n')
        quick, full, taken = (socket.socket(socket.AF_UNIX) for _ in range(3))
        for server, name, backlog in ((quick, "quick", 1000), (full, "full", 0)):
            server.bind(f"{place}/{name}")
            os.chmod(f"{place}/{name}", 0o777)
            server.listen(backlog)
        taken.connect(place + "/full")

        # However many processes the user may have: all works, or nothing starts.
        seen = set()
        for limit in range(1, 14):
            done = subprocess.run(wrapped(place, QUICK), preexec_fn=as_user(RLIMIT_NPROC=limit, RLIMIT_SIGPENDING=0),
                                  capture_output=True, text=True, timeout=20, check=False)
            reap()
            outcome = (done.returncode, done.stdout)
            assert outcome in ((0, "ok\n"), (125, "")), (limit, outcome, done.stderr)
            assert done.returncode == 0 or done.stderr.startswith("wrap: "), done.stderr
            seen.add(done.returncode)
        assert seen == {0, 125}, seen

        # No thread and no pending signal more: one call may wait at most, the others are refused at once, and what need not
        # wait is answered. The one that waits may be refused, too, so that the others get its thread.
        with subprocess.Popen(wrapped(place, WAITING), preexec_fn=as_user(RLIMIT_SIGPENDING=0), text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
            supervisor = int(job.stdout.readline())
            # As the user: root may lack the capability for it in a container.
            subprocess.run(["/usr/bin/prlimit", "--pid", str(supervisor), "--nproc=1:1"], preexec_fn=as_user(),
                           check=True)
            out, _ = job.communicate("go\n", timeout=20)
            refused = ["['EAGAIN', 'EAGAIN']\n", "['EAGAIN', 'EAGAIN', 'EAGAIN']\n"]
            assert out in refused and job.returncode == 0, (out, job.returncode)
        reap()
