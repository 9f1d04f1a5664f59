# SPDX-License-Identifier: Apache-2.0
"""Clients of the bus that call and never read, while there are many sessions: what others notice of it."""

import json
import os
import pathlib
import time

import pytest

from lib import api, system
from lib.system import wrap

SESSIONS = 200
STARTS = 100
LOGS = pathlib.Path(os.environ["WRAPD_E2E_LOGS"])
# What is promised is less; a slow or busy machine must not fail here.
PATIENCE = 10


def service(machine):
    return machine.root("systemctl", "show", "--value", "--property=MainPID", "wrapd.service").stdout.strip()


def peak_mib(machine):
    status = machine.root("cat", f"/proc/{service(machine)}/status").stdout
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def start_times(machine):
    """(median, 99th percentile, longest) of `wrap true` in milliseconds."""
    done = machine.run("python3", "/usr/local/e2e/starts.py", STARTS, user="dave", timeout=300)
    assert done.returncode == 0, done.stderr
    times = sorted(json.loads(done.stdout))
    return round(times[len(times) // 2], 1), round(times[len(times) * 99 // 100 - 1], 1), round(times[-1], 1)


def seconds(work):
    start = time.monotonic()
    work()
    return round(time.monotonic() - start, 2)


@pytest.fixture
def crowded(machine, used_up):
    """Many sessions of one user, with long commands."""
    machine.write("/etc/wrapd/wrapd.yaml", system.WRAPD_YAML.replace(
        "sessions_per_user: 20, pending_per_user: 16, sessions: 100",
        "sessions_per_user: 250, pending_per_user: 250, sessions: 500"))
    machine.root("systemctl", "restart", "wrapd.service")
    job = machine.popen("python3", "/usr/local/e2e/idle_sessions.py", SESSIONS, user="alice")
    job.wait_line("started", timeout=120)
    api.wait_for(machine, api.sessions, lambda seen: [s["state"] for s in seen] == ["running"] * SESSIONS, timeout=120)
    yield machine
    job.close_input()
    job.wait(timeout=120)
    api.wait_for(machine, api.sessions, lambda seen: not seen, timeout=120)


@pytest.mark.parametrize("connections", [1, 8])
def test_clients_that_do_not_read_hold_up_nobody(crowded, capsys, connections):
    machine = crowded
    quiet = start_times(machine)
    hoarders = [machine.popen("python3", "/usr/local/e2e/hoard.py", connections, user=user)
                for user in (("bob",) if connections == 1 else ("bob", "carol"))]
    for hoarder in hoarders:
        hoarder.wait_line("hoarding", timeout=60)
    loud = start_times(machine)
    for _ in range(10):
        seen = api.sessions(machine, user="dave")
        assert sum(session["mode"] == "enforce" for session in seen) >= SESSIONS

    def recover():
        before = service(machine)
        machine.root("kill", "-KILL", before)
        assert machine.run(*wrap("true"), user="dave").returncode == 0
        assert service(machine) != before

    figures = {"connections": connections * len(hoarders), "wrap true, quiet, ms (median, 99 %, longest)": quiet,
               "with them": loud, "service's memory, peak, MiB": round(peak_mib(machine), 1),
               "restart, s": seconds(lambda: machine.root("systemctl", "restart", "wrapd.service")),
               "kill -9 until wrap true, s": seconds(recover)}
    assert len(api.answer(machine, "ListSessions", user="dave")[0]) >= SESSIONS
    for hoarder in hoarders:
        assert hoarder.process.poll() is None, "the bus has ended a hoarder"
        hoarder.kill()
    with capsys.disabled():
        print(f"\n{figures}")
    (LOGS / f"e2e-not-reading-{connections}.json").write_text(json.dumps(figures) + "\n")
    assert loud[2] < 3000
    assert figures["service's memory, peak, MiB"] < 64
    assert figures["restart, s"] < PATIENCE and figures["kill -9 until wrap true, s"] < PATIENCE
