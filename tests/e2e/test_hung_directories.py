# SPDX-License-Identifier: Apache-2.0
"""Users whose working directories lie on file systems that do not answer: their own sessions may hang, nobody else's does,
and neither does the service."""

import json
import subprocess
import time

import pytest

from lib import system
from lib.system import main_pid

TARGET = 0.100  # seconds; printed beside what is seen
STARTS = 100
LONGEST = 3  # seconds; a wait for a file system would be as long as the test

POLICY = """\
version: 1
name: where
unix_socket_rules:
  - {name: here, paths: ["${CWD}/*.sock"], operations: [connect], decision: allow}
  - {name: there, paths: ["/srv/hung/1/*.sock", "/srv/hung/2/in/*.sock"], operations: [connect], decision: allow}
"""
TIMED = """
import json, subprocess, sys, time
times = []
for _ in range(int(sys.argv[1])):
    start = time.monotonic()
    subprocess.run(["wrap", "true"], check=True)
    times.append(time.monotonic() - start)
print(json.dumps(sorted(times)))
"""


@pytest.fixture
def hung(machine):
    """Three directories that hang once hung.hang() is called."""
    if machine.root("sh", "-c", "test -c /dev/fuse || mknod -m 666 /dev/fuse c 10 229; : <>/dev/fuse",
                    check=False).returncode != 0:
        pytest.skip("no FUSE in the booted system")
    machine.write("/etc/wrapd/policies/where.yaml", POLICY)
    machine.write("/etc/wrapd/wrapd.yaml", system.WRAPD_YAML.replace(
        "policies: [agents, audited, open], default: agents", "policies: [where], default: where"))
    machine.root("systemctl", "reload-or-restart", "wrapd.service")
    directories = [f"/srv/hung/{i}" for i in (1, 2, 3)]
    machine.root("mkdir", "-p", *directories)
    server = subprocess.Popen([*machine.enter_argv(), "python3", "/usr/local/e2e/hung_fs.py", *directories], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == "ready\n"

        def hang():
            server.stdin.write("\n")
            server.stdin.flush()
            assert server.stdout.readline() == "hung\n"
        machine.hang, machine.hung_directories = hang, [f"{d}/in" for d in directories]
        yield machine
    finally:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()
        machine.root("rm", "-rf", "/srv/hung", "/etc/wrapd/policies/where.yaml")


def timed(machine, user):
    done = machine.run("python3", "-c", TIMED, STARTS, user=user, timeout=120)
    assert done.returncode == 0, done
    times = json.loads(done.stdout)
    return times[len(times) // 2], times[int(len(times) * 0.99)], times[-1]


def seconds(machine, *command):
    start = time.monotonic()
    machine.root(*command)
    return time.monotonic() - start


def test_hung_working_directories_hold_up_nobody_else(hung):
    machine = hung
    quiet = timed(machine, "bob")
    # From there they open sessions for as long as the test runs; what does not come back is killed.
    loop = "echo there; read -r go; while :; do timeout -s KILL 3 wrap true & sleep 0.2; done"
    jobs = [machine.popen("sh", "-c", f"cd {directory} && {loop}", user="alice") for directory in machine.hung_directories]
    for job in jobs:
        job.wait_line("there")
    machine.hang()
    for job in jobs:
        job.send("go\n")
    machine.wait_until("sh", "-c", 'test "$(pgrep --count --exact --uid alice wrap)" -ge 3')
    busy = timed(machine, "bob")
    before = main_pid(machine)
    restart = seconds(machine, "systemctl", "restart", "wrapd.service")
    assert main_pid(machine) != before
    assert machine.run("wrap", "true", user="bob").returncode == 0
    start = time.monotonic()
    machine.root("kill", "-KILL", main_pid(machine))
    assert machine.run("wrap", "true", user="bob").returncode == 0
    recovery = time.monotonic() - start
    print(f"\nwrap true of another user: median {quiet[0] * 1000:.1f} ms, 99th percentile {quiet[1] * 1000:.1f} ms; with "
          f"three hung working directories {busy[0] * 1000:.1f} ms and {busy[1] * 1000:.1f} ms (target "
          f"{TARGET * 1000:.0f} ms); restart {restart:.2f} s, kill -9 to the next session {recovery:.2f} s (target 2 s)")
    assert busy[2] < LONGEST, (quiet, busy)
    assert restart < 10 and recovery < 10
    for job in jobs:
        job.machine.root("systemctl", "kill", "--signal=KILL", job.unit, check=False)
