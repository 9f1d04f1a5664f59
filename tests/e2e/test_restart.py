# SPDX-License-Identifier: Apache-2.0
"""The service goes and comes; its sessions do not notice."""

import json
import os
import pathlib

import pytest

from lib import api, events, system
from lib.system import main_pid, wrap

SESSIONS = 100
LOGS = pathlib.Path(os.environ["WRAPD_E2E_LOGS"])


def stored(machine):
    return int(machine.root("systemctl", "show", "--value", "--property=NFileDescriptorStore", "wrapd.service").stdout)


def restart(machine, how):
    before = main_pid(machine)
    if how == "kill":
        machine.root("kill", "-KILL", before)
        machine.wait_until("sh", "-c", f'test "$(systemctl show --value --property=MainPID wrapd.service)" -ne {before}'
                                       ' && systemctl is-active --quiet wrapd.service')
    else:
        machine.root("systemctl", how, "wrapd.service")
    assert main_pid(machine) != before


def supervisor_of(machine, user):
    uid = machine.root("id", "-u", user).stdout.strip()
    return next(pid for pid in machine.root("pgrep", "--exact", "wrap-supervisor").stdout.split()
                if machine.root("sh", "-c", f"grep ^Uid: /proc/{pid}/status").stdout.split()[2] == uid)


@pytest.fixture
def roomy(machine):
    """Limits that a hundred sessions of one user fit in."""
    machine.write("/etc/wrapd/wrapd.yaml", system.WRAPD_YAML.replace(
        "sessions_per_user: 20, pending_per_user: 16, sessions: 100",
        "sessions_per_user: 200, pending_per_user: 200, sessions: 300"))
    machine.root("systemctl", "reload-or-restart", "wrapd.service")
    return machine


def test_a_hundred_sessions_survive_restarts_and_kills(roomy):
    machine = roomy
    idle = stored(machine)
    cursor = machine.cursor()
    job = machine.popen("python3", "/usr/local/e2e/many_sessions.py", SESSIONS, "/run/e2e/echo1.sock",
                        "/run/docker.sock", user="alice")
    job.wait_line("all ready", timeout=120)
    before = {s["id"] for s in api.wait_for(machine, api.sessions, lambda seen: len(seen) == SESSIONS
                                            and all(s["state"] == "running" for s in seen))}
    for how in ("restart", "kill", "restart", "kill", "kill"):
        restart(machine, how)
        after = api.wait_for(machine, api.sessions, lambda seen: len(seen) == SESSIONS
                             and all(s["state"] == "running" for s in seen))
        assert {s["id"] for s in after} == before
        assert all(s["policy"] == "agents" and s["command"].startswith("python3") for s in after)
    job.close_input()
    assert job.wait(timeout=120) == 0, job.output
    figures = json.loads(job.output.splitlines()[-1])
    figures.update(before=len(before), after=len(after), restarts=5)
    (LOGS / "e2e-restart-figures.json").write_text(json.dumps(figures) + "\n")
    print(figures)
    assert figures["lost"] == 0 and figures["sessions"] == SESSIONS
    assert (figures["failed"], figures["reached"], figures["errors"]) == (0, 0, [])
    assert figures["calls"] > SESSIONS * 10
    api.wait_for(machine, api.sessions, lambda seen: not seen)
    # Each is recorded, also those that were decided while there was no service; equal ones are one record with a count.
    recorded = machine.journal(events.match("unix_socket_op"), after=cursor)
    assert sum(int(e.get("WRAPD_COUNT", 1)) for e in recorded if e["WRAPD_SESSION_ID"] in before) == figures["calls"]
    assert machine.journal(events.match("events_lost"), after=cursor) == []
    machine.wait_until("sh", "-c", f'test "$(systemctl show --value --property=NFileDescriptorStore wrapd.service)" -eq {idle}')


def test_sessions_that_end_while_the_service_is_away(machine):
    cursor = machine.cursor()
    job = machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice")
    job.wait_line("started")
    session = api.wait_for(machine, api.sessions, lambda seen: len(seen) == 1)[0]["id"]
    pid = main_pid(machine)
    machine.root("kill", "-STOP", pid)
    job.send("go\n")
    assert job.wait() == 0
    machine.root("kill", "-KILL", pid)
    api.wait_for(machine, api.sessions, lambda seen: not seen)
    closed = machine.wait_journal(lambda e: True, events.match("session_closed"), f"WRAPD_SESSION_ID={session}",
                                  after=cursor)
    assert len(closed) == 1 and events.parsed(closed[0])["reason"] == "finished"


def test_supervisor_killed_while_the_service_is_away(machine):
    cursor = machine.cursor()
    job = machine.popen(*wrap("sleep", "1000"), user="alice")
    other = machine.popen(*wrap("sh", "-c", "echo started; read -r go; exit 5"), user="bob")
    other.wait_line("started")
    seen = api.wait_for(machine, api.sessions, lambda seen: [s["state"] for s in seen] == ["running"] * 2)
    session = next(s for s in seen if s["policy"] == "agents")
    supervisor = supervisor_of(machine, "alice")
    pid = main_pid(machine)
    machine.root("kill", "-STOP", pid)
    machine.root("kill", "-KILL", supervisor)
    assert job.wait() == 125
    machine.root("kill", "-KILL", pid)
    api.wait_for(machine, api.sessions, lambda seen: len(seen) == 1)
    closed = machine.wait_journal(lambda e: True, events.match("session_closed"),
                                  f"WRAPD_SESSION_ID={session['id']}", after=cursor)
    assert "died" in events.parsed(closed[0])["reason"]
    other.send("go\n")
    assert other.wait() == 5


@pytest.mark.parametrize("hears", [True, False])
def test_an_order_to_end_outlives_the_service(machine, hears):
    """Whoever was answered can rely on it, whatever becomes of the service in the next instant."""
    cursor = machine.cursor()
    job = machine.popen(*wrap("sh", "-c", "echo started; exec sleep 1000"), user="alice")
    job.wait_line("started")
    session = api.wait_for(machine, api.sessions, lambda seen: [s["state"] for s in seen] == ["running"])[0]["id"]
    supervisor, pid = supervisor_of(machine, "alice"), main_pid(machine)
    machine.root("kill", "-STOP", supervisor)
    machine.root("sh", "-c", f"busctl call {api.NAME} {api.MANAGER} org.wrapd1.Manager TerminateSession s {session} && "
                             f"kill -KILL {pid}")
    machine.wait_until("sh", "-c", f'test "$(systemctl show --value --property=MainPID wrapd.service)" -ne {pid}'
                                   ' && systemctl is-active --quiet wrapd.service')
    assert [(s["id"], s["state"]) for s in api.sessions(machine)] == [(session, "terminating")]
    if hears:
        machine.root("kill", "-CONT", supervisor)
    # Else: when the time is over that it had to end its programs.
    closed = machine.wait_journal(lambda e: True, events.match("session_closed"), f"WRAPD_SESSION_ID={session}",
                                  after=cursor, timeout=60)
    assert ("uid 0" if hears else "did not end its programs") in events.parsed(closed[0])["reason"]
    assert job.wait() != 0
    api.wait_for(machine, api.sessions, lambda seen: not seen)
    assert machine.root("pgrep", "--full", "--exact", "sleep 1000", check=False).stdout == ""


def test_opening_sessions_while_the_service_restarts(machine):
    """Whatever step a session is at: it runs under its policy, or wrap says why it does not."""
    script = ("for i in $(seq 60); do wrap --quiet -- python3 /usr/local/e2e/connect.py /run/e2e/echo1.sock "
              "/run/docker.sock || echo status $?; done; echo end")
    jobs = [machine.popen("sh", "-c", script, user="alice") for _ in range(3)]
    while any(job.process.poll() is None for job in jobs):
        machine.root("systemctl", "kill", "--signal=KILL", "--kill-who=main", "wrapd.service", check=False)
        machine.root("sleep", "0.15")
    for job in jobs:
        assert job.wait() == 0
        lines = job.output.splitlines()
        assert lines.count("/run/e2e/echo1.sock ok") == 60, job.output
        assert lines.count("/run/docker.sock EACCES") == 60, job.output
        assert [line for line in lines if line.startswith("status")] == [], job.output
    api.wait_for(machine, api.sessions, lambda seen: not seen)


def test_idle_service_ends_and_is_started_again(machine):
    machine.root("systemctl", "restart", "wrapd.service")
    command = machine.root("systemctl", "cat", "wrapd.service").stdout
    exec_start = next(line for line in command.splitlines() if line.startswith("ExecStart="))
    assert "--idle-exit" in exec_start
    program = exec_start.removeprefix("ExecStart=").split()[0]
    machine.write("/run/systemd/system/wrapd.service.d/idle.conf",
                  f"[Service]\nExecStart=\nExecStart={program} --idle-exit=1\n")
    machine.root("systemctl", "daemon-reload")
    machine.root("systemctl", "restart", "wrapd.service")
    try:
        machine.wait_until("sh", "-c", "! systemctl is-active --quiet wrapd.service")
        assert machine.root("systemctl", "--failed", "--no-legend", "list-units", "wrapd*").stdout == ""
        # By the socket, and by the bus.
        assert machine.run(*wrap("true"), user="alice").returncode == 0
        machine.wait_until("sh", "-c", "! systemctl is-active --quiet wrapd.service")
        assert api.sessions(machine, user="bob") == []
        # A session keeps it there.
        job = machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice")
        job.wait_line("started")
        machine.root("sleep", "2.5")
        machine.root("systemctl", "is-active", "wrapd.service")
        # Callers in the moment in which it ends are served.
        job.send("go\n")
        assert job.wait() == 0
        done = machine.run("sh", "-c", "for i in $(seq 8); do sleep 1.0$i; wrap -- true || echo failed; done",
                           user="alice", timeout=60)
        assert done.stdout == "", done.stdout + done.stderr
        script = ("for i in $(seq 0 9) $(seq 0 9); do sleep 1.0$i; busctl --timeout=20 call org.wrapd1 /org/wrapd1 "
                  "org.wrapd1.Manager ListSessions || echo failed; done")
        done = machine.run("sh", "-c", script, user="alice", timeout=90)
        assert "failed" not in done.stdout, done.stdout + done.stderr
    finally:
        machine.root("rm", "-r", "/run/systemd/system/wrapd.service.d")
        machine.root("systemctl", "daemon-reload")
        machine.root("systemctl", "restart", "wrapd.service")


def test_reload_of_a_broken_policy_changes_nothing(machine):
    assert machine.run(*wrap("true"), user="alice").returncode == 0
    job = machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice")
    job.wait_line("started")
    machine.write("/etc/wrapd/policies/agents.yaml", "version: 1\nname: agents\nunix_socket_rules: [{naem: x}]\n")
    done = api.call(machine, "Reload")
    assert done.returncode != 0 and "agents.yaml:3" in done.stderr, done.stderr
    assert machine.run(*system.connect("/run/e2e/echo1.sock"), user="alice").stdout == "/run/e2e/echo1.sock ok\n"
    assert [s["stale"] for s in api.sessions(machine)] == [False]
    machine.write("/etc/wrapd/policies/agents.yaml", system.POLICIES["agents"].replace("no-docker", "never-docker"))
    done = api.call(machine, "Reload")
    assert done.returncode == 0, done.stderr
    assert [s["stale"] for s in api.sessions(machine)] == [True]
    assert "never-docker" in machine.run(*system.connect("/run/docker.sock"), user="alice").stderr
    # Also after the service has been away.
    restart(machine, "restart")
    assert [s["stale"] for s in api.wait_for(machine, api.sessions, lambda seen: len(seen) == 1)] == [True]
    job.send("go\n")
    assert job.wait() == 0
