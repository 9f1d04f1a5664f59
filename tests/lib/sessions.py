# SPDX-License-Identifier: Apache-2.0
"""Users' sessions with a running service (lib/daemon.py), by the real wrap."""

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from lib.peers import PATIENCE
from lib.processes import status_of
from lib.users import ALICE

WRAP = os.environ.get("WRAPD_TEST_WRAP", "")
COMPILE = os.environ.get("WRAPD_TEST_COMPILE", "")
PROMPT = 5.0  # seconds in which a session opens on a machine that is busy with an attack


def start_wrap(service, *command, uid=ALICE, options=(), **how):
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
           "cwd": "/", **how}
    return subprocess.Popen([WRAP, f"--control={service.control}", *options, "--", *command], user=uid, group=uid,
                            extra_groups=[], **how)


def wrap(service, *command, **how):
    process = start_wrap(service, *command, **how)
    out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def opens_promptly(service):
    began = time.monotonic()
    result = wrap(service, "true")
    took = time.monotonic() - began
    assert result.returncode == 0, (result, service.text())
    assert took < PROMPT, took
    return True


def supervisors(service):
    """Effective uid by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = status_of(entry.name)
        except OSError:
            continue
        if status["Name"] == "wrap-supervisor" and int(status["PPid"]) == service.process.pid:
            found[int(entry.name)] = int(status["Uid"].split()[1])
    return found


@contextmanager
def session(service, *command, **how):
    """wrap, whose command has said its first line, and the supervisor's pid."""
    process = start_wrap(service, *command, **how)
    try:
        line = process.stdout.readline()
        assert line, (process.communicate(), service.text())
        supervisor, = [pid for pid, uid in supervisors(service).items() if uid == ALICE]
        yield process, supervisor, line.strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
