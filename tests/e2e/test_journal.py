# SPDX-License-Identifier: Apache-2.0
"""What is recorded, as journalctl gives it back."""

import json
import re

from lib import events
from lib.system import connect, wrap


def test_fields_of_a_denial(machine):
    cursor = machine.cursor()
    done = machine.run(*connect("/run/docker.sock", "@/tmp/.X11-unix/X0", "/run/e2e/echo1.sock"), user="alice")
    assert done.returncode == 0
    entries = events.of_session(machine, cursor)
    uid = machine.root("id", "-u", "alice").stdout.strip()

    opened = entries[0]
    assert opened["MESSAGE_ID"] == events.MESSAGE_IDS["session_opened"]
    assert opened["WRAPD_UID"] == uid and opened["WRAPD_POLICY"] == "agents" and opened["WRAPD_MODE"] == "enforce"
    assert "connect.py" in opened["WRAPD_COMMAND"]
    assert re.fullmatch("[0-9a-f]{32}", opened["WRAPD_SESSION_ID"])

    docker = next(e for e in entries if e.get("WRAPD_PATH") == "/run/docker.sock")
    assert docker["MESSAGE_ID"] == events.MESSAGE_IDS["unix_socket_op"]
    assert docker["MESSAGE"].startswith("denied connect to /run/docker.sock by python3[")
    assert docker["SYSLOG_IDENTIFIER"] == "wrapd" and docker["PRIORITY"] == "5"
    expected = {"WRAPD_TYPE": "unix_socket_op", "WRAPD_SESSION_ID": opened["WRAPD_SESSION_ID"], "WRAPD_UID": uid,
                "WRAPD_COMM": "python3", "WRAPD_OPERATION": "connect", "WRAPD_DECISION": "deny",
                "WRAPD_RULE": "no-docker", "WRAPD_POLICY": "agents", "WRAPD_MODE": "enforce",
                "WRAPD_ACTION": "denied", "WRAPD_ABSTRACT": "false"}
    assert {key: docker.get(key) for key in expected} == expected
    assert docker["WRAPD_EXE"].startswith("/usr/bin/python3")
    assert int(docker["WRAPD_PID"]) > 1

    event = events.parsed(docker)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
    for name, value in event.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        assert docker[f"WRAPD_{name.upper()}"] == shown
    assert {f"WRAPD_{name.upper()}" for name in event} | {"WRAPD_EVENT"} == {k for k in docker if k.startswith("WRAPD_")}

    abstract = next(events.parsed(e) for e in entries if e.get("WRAPD_ABSTRACT") == "true")
    assert (abstract["path"], abstract["rule"], abstract["action"]) == ("/tmp/.X11-unix/X0", "no-x11", "denied")

    closed = events.parsed(entries[-1])
    assert (closed["denied"], closed["session_id"]) == (2, opened["WRAPD_SESSION_ID"])
    assert closed["allowed"] >= 1


def test_records_come_from_the_service_and_no_program_can_make_one(machine):
    """The journal adds _UID, _SYSTEMD_UNIT and _EXE from the kernel: what a user sends itself carries the user's own."""
    cursor = machine.cursor()
    machine.run(*connect("/run/docker.sock"), user="alice")
    for entry in events.of_session(machine, cursor):
        assert entry["_SYSTEMD_UNIT"] == "wrapd.service", entry
    # Wrapped: the journal's socket is out of reach, whatever the policy.
    for options in ([], ["--policy", "open"]):
        cursor = machine.cursor()
        machine.run(*wrap("logger", "--journald", options=options), user="alice",
                    input=f"MESSAGE_ID={events.MESSAGE_IDS['unix_socket_op']}\nMESSAGE=forged\nWRAPD_UID=0\n")
        forged = [e for e in machine.journal(events.match("unix_socket_op"), after=cursor) if e["MESSAGE"] == "forged"]
        assert all(e.get("_SYSTEMD_UNIT") != "wrapd.service" for e in forged)


def test_names_cannot_forge_fields_or_lines(machine):
    cursor = machine.cursor()
    name = "x\nWRAPD_DECISION=allow\nMESSAGE=fine\x01\xff\x1b[31m"
    script = f"""
import socket
open('/proc/self/comm', 'wb').write({"evil" + chr(10) + "comm"!r}.encode())
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(b'\\0' + {name!r}.encode('latin-1'))
except PermissionError:
    print('denied')
"""
    done = machine.run(*wrap("python3", "-c", script), user="alice")
    assert done.stdout == "denied\n", done
    assert "\x1b" not in done.stderr and "\x01" not in done.stderr
    entry = next(e for e in events.of_session(machine, cursor) if e.get("WRAPD_OPERATION") == "connect")
    assert entry["WRAPD_DECISION"] == "deny" and entry["MESSAGE"].startswith("denied connect to @x")
    assert "\n" not in entry["MESSAGE"] and "\n" not in entry["WRAPD_COMM"] and "\n" not in entry["WRAPD_PATH"]
    assert "\x1b" not in entry["MESSAGE"]


def test_catalog_explains_each_kind(machine):
    listed = machine.root("journalctl", "--no-pager", "--dump-catalog", *events.MESSAGE_IDS.values()).stdout
    for kind, message_id in events.MESSAGE_IDS.items():
        assert f"-- {message_id}" in listed, kind
    machine.run(*connect("/run/docker.sock"), user="alice")
    shown = machine.root("journalctl", "--no-pager", "-x", "-n", "1", events.match("unix_socket_op")).stdout
    text = [line for line in shown.splitlines() if line.startswith("░░")]
    assert text, shown
    assert "policy agents" in "\n".join(text) and "deny; the request was denied" in "\n".join(text), shown


def test_events_outlast_an_absent_journal(machine):
    """What is decided while the journal is away is recorded when it is back: not one is lost."""
    job = machine.popen(*wrap("sh", "-c", "echo started; read -r go; i=0; while [ $i -lt 20 ]; do "
                              "python3 /usr/local/e2e/connect.py /run/docker.sock; i=$((i+1)); done; "
                              "echo tried; read -r go"), user="alice")
    job.wait_line("started")
    cursor = machine.cursor()
    machine.root("systemctl", "stop", "systemd-journald.socket", "systemd-journald-dev-log.socket",
                 "systemd-journald.service")
    job.send("go\n")
    job.wait_line("tried", timeout=60)
    machine.root("systemctl", "start", "systemd-journald.socket", "systemd-journald-dev-log.socket",
                 "systemd-journald.service")
    job.send("go\n")
    assert job.wait() == 0
    assert job.output.count("/run/docker.sock EACCES") == 20
    machine.wait_journal(lambda e: True, events.match("session_closed"), after=cursor)
    recorded = machine.journal(events.match("unix_socket_op"), "WRAPD_PATH=/run/docker.sock", after=cursor)
    assert sum(events.parsed(e).get("count", 1) for e in recorded) == 20
    assert machine.journal(events.match("events_lost"), after=cursor) == []


def test_audit_log_of_the_user(machine):
    done = machine.run(*connect("/run/docker.sock", "/run/e2e/echo1.sock",
                                options=["--audit-log", "/home/alice/audit.jsonl"]), user="alice")
    assert done.returncode == 0, done
    lines = [json.loads(line) for line in machine.read("/home/alice/audit.jsonl").splitlines()]
    operations = [(e["path"], e["action"]) for e in lines if e["type"] == "unix_socket_op"]
    assert ("/run/docker.sock", "denied") in operations
    assert machine.root("stat", "-c", "%U", "/home/alice/audit.jsonl").stdout == "alice\n"
