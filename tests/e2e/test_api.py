# SPDX-License-Identifier: Apache-2.0
"""The bus, polkit and wrapctl as administrators and users meet them."""

import json
import xml.etree.ElementTree as xml

import pytest

from lib import api, events
from lib.system import wrap

OPERATORS = """\
polkit.addRule(function(action, subject) {
    if (action.id == "org.wrapd1.manage-sessions" && subject.isInGroup("operators")) { return polkit.Result.YES; }
});
"""


@pytest.fixture
def session(machine):
    job = machine.popen(*wrap("sh", "-c", "echo started; read -r go"), user="alice")
    job.wait_line("started")
    found = api.wait_for(machine, api.sessions, lambda seen: [s["state"] for s in seen] == ["running"])[0]
    yield job, found
    if job.process.poll() is None:
        job.send("go\n")
        job.wait()
    machine.root("rm", "-f", "/etc/polkit-1/rules.d/50-operators.rules")


@pytest.mark.parametrize("user", ["root", "alice", "bob"])
def test_everybody_sees_the_sessions(machine, session, user):
    _, found = session
    row = api.sessions(machine, user=user)[0]
    uid = int(machine.root("id", "-u", "alice").stdout)
    assert (row["uid"], row["policy"], row["mode"], row["command"]) == (uid, "agents", "enforce",
                                                                       "sh -c 'echo started; read -r go'") or \
        row["command"].startswith("sh -c")
    run = machine.root if user == "root" else lambda *argv: machine.run(*argv, user=user)
    shown = json.loads(run("wrapctl", "--json", "list").stdout)
    assert [s["id"] for s in shown["sessions"]] == [found["id"]]
    text = run("wrapctl", "list").stdout
    assert found["id"][:8] in text and "alice" in text and "agents" in text
    assert json.loads(run("wrapctl", "--json", "show", found["id"][:8]).stdout)["id"] == found["id"]
    properties = json.loads(api.busctl(machine, "call", api.NAME, found["path"], "org.freedesktop.DBus.Properties", "GetAll",
                                       "s", "org.wrapd1.Session", user=user).stdout)["data"][0]
    assert properties["Id"]["data"] == found["id"] and properties["State"]["data"] == "running"
    managed = json.loads(api.busctl(machine, "call", api.NAME, api.MANAGER, "org.freedesktop.DBus.ObjectManager",
                                    "GetManagedObjects", user=user).stdout)["data"][0]
    assert list(managed) == [found["path"]]


def test_introspection_is_what_is_documented(machine, session):
    _, found = session

    def members(text):
        return {(i.get("name"), m.tag, m.get("name"), tuple((a.get("type"), a.get("direction")) for a in m.iter("arg")
                                                            if m.tag != "signal") or
                 tuple(a.get("type") for a in m.iter("arg")), m.get("type"))
                for i in xml.fromstring(text).iter("interface") if i.get("name").startswith("org.wrapd1.")
                for m in i if m.tag != "annotation"}

    documented = members(machine.read("/usr/share/dbus-1/interfaces/org.wrapd1.xml"))
    offered = set()
    for path in (api.MANAGER, found["path"]):
        done = machine.root("busctl", "introspect", "--xml-interface", api.NAME, path)
        offered |= members(done.stdout)
    assert offered == documented


def test_own_session_may_be_terminated(machine, session):
    job, found = session
    done = machine.run("wrapctl", "terminate", found["id"], user="alice")
    assert done.returncode == 0, done.stderr
    assert job.wait(timeout=15) == 137
    uid = machine.run("id", "-u", user="alice").stdout.strip()
    assert f"wrap: the session was ended by uid {uid}\n" in job.output.replace("\r", "")
    api.wait_for(machine, api.sessions, lambda seen: not seen)


def test_others_sessions_need_polkit(machine, session):
    job, found = session
    done = machine.run("wrapctl", "--no-ask-password", "terminate", found["id"], user="bob")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert api.call(machine, "TerminateUser", "u", str(found["uid"]), user="bob").returncode != 0
    assert len(api.sessions(machine)) == 1
    machine.root("sh", "-c", "getent group operators || groupadd operators; gpasswd -a bob operators")
    machine.write("/etc/polkit-1/rules.d/50-operators.rules", OPERATORS)
    machine.root("systemctl", "restart", "polkit.service")
    assert machine.run("wrapctl", "terminate", found["id"], user="bob").returncode == 0
    assert job.wait(timeout=15) == 137
    assert str(machine.root("id", "-u", "bob").stdout.strip()) in job.output or "bob" in job.output


def test_who_tried_in_vain_and_who_reloaded_is_recorded(machine, session):
    _, found = session
    cursor = machine.cursor()
    assert machine.run("wrapctl", "--no-ask-password", "terminate", found["id"], user="bob").returncode == 2
    refused = machine.wait_journal(lambda e: True, events.match("peer_rejected"), after=cursor)[0]
    bob = machine.root("id", "-u", "bob").stdout.strip()
    assert (refused["WRAPD_PEER_UID"], refused["WRAPD_OPERATION"], refused["WRAPD_SESSION_ID"]) == \
        (bob, "TerminateSession", found["id"])
    assert f"uid {found['uid']}'s" in refused["WRAPD_REASON"]
    assert machine.run("wrapctl", "--no-ask-password", "reload", user="bob").returncode == 2
    refused = machine.wait_journal(lambda e: e["WRAPD_OPERATION"] == "Reload", events.match("peer_rejected"), after=cursor)
    assert refused[-1]["WRAPD_PEER_UID"] == bob
    assert machine.journal(events.match("policy_loaded"), after=cursor) == []
    for command, by in ((["wrapctl", "reload"], "uid 0"), (["systemctl", "reload", "wrapd.service"], "SIGHUP")):
        cursor = machine.cursor()
        machine.root(*command)
        loaded = machine.wait_journal(lambda e: e["WRAPD_POLICY"] == "agents", events.match("policy_loaded"), after=cursor)
        assert {entry["WRAPD_BY"] for entry in loaded} == {by}


TREE = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
there, here = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print('daemon', flush=True)
        os.write(here, b'!')
        while True:
            time.sleep(1)
    os._exit(0)
os.read(there, 1)  # a bomb leaves no process for it
if sys.argv[1:] == ['bomb']:
    while True:
        try:
            if os.fork() == 0:
                pass
        except OSError:
            pass
time.sleep(1000)
"""


@pytest.mark.parametrize("kind", ["daemon", "bomb"])
def test_terminate_ends_the_whole_tree(machine, kind):
    job = machine.popen(*wrap("python3", "-c", TREE, kind), user="alice", properties=["LimitNPROC=300"])
    job.wait_line("daemon")
    found = api.sessions(machine)[0]
    cursor = machine.cursor()
    assert machine.root("wrapctl", "terminate", found["id"]).returncode == 0
    assert job.wait(timeout=60) == 137
    machine.wait_until("sh", "-c", "! pgrep -u alice python3", timeout=30)
    api.wait_for(machine, api.sessions, lambda seen: not seen, timeout=30)
    closed = machine.wait_journal(lambda e: True, events.match("session_closed"), f"WRAPD_SESSION_ID={found['id']}",
                                  after=cursor)
    assert "terminated" in events.parsed(closed[0])["reason"]


def test_terminate_leaves_alone_what_the_shell_had_started(machine):
    script = "sleep 4711 & exec wrap -- sh -c 'sleep 4712 & echo started; wait'"
    job = machine.popen("sh", "-c", 'sh -c "$1"; echo "ended with $?"; read -r go', "sh", script, user="alice")
    job.wait_line("started")
    found = api.wait_for(machine, api.sessions, lambda seen: [s["state"] for s in seen] == ["running"])[0]
    assert machine.run("wrapctl", "terminate", found["id"], user="alice").returncode == 0
    job.wait_line("ended with 137")
    assert machine.root("pgrep", "--full", "--exact", "sleep 4712", check=False).stdout == ""
    left, = machine.root("pgrep", "--full", "--exact", "sleep 4711").stdout.split()
    machine.root("kill", left)
    job.send("go\n")
    assert job.wait() == 0


def bus_client(machine, user, *addresses, **options):
    options = {"command": "by the bus", "cwd": "/", **options}
    return machine.run("python3", "/usr/local/e2e/bus_client.py", json.dumps(options), *addresses, user=user)


def test_a_session_over_the_bus_is_one(machine):
    cursor = machine.cursor()
    done = bus_client(machine, "alice", "/run/e2e/redis.sock", "/run/docker.sock")
    assert done.returncode == 0, done.stderr
    *lines, summary = done.stdout.splitlines()
    assert lines == ["/run/e2e/redis.sock ok", "/run/docker.sock EACCES"]
    assert json.loads(summary)["denied"] == 1
    opened = machine.wait_journal(lambda e: True, events.match("session_opened"), after=cursor)[0]
    assert events.parsed(opened)["command"] == "by the bus"
    api.wait_for(machine, api.sessions, lambda seen: not seen)


def test_the_bus_is_no_wider_door(machine):
    assert bus_client(machine, "carol").stderr.startswith("NotPermitted: ")
    assert bus_client(machine, "alice", policy="builders").stderr.startswith("NotPermitted: ")
    # A profile that is announced and does not come: no session.
    done = bus_client(machine, "alice", profile=True)
    assert done.returncode != 0
    # What wrap runs is confined.
    confined = machine.run(*wrap("python3", "/usr/local/e2e/bus_client.py", '{"command":"x","cwd":"/"}'), user="alice")
    assert "Confined: " in confined.stderr
    api.wait_for(machine, api.sessions, lambda seen: not seen)


def test_monitor_shows_what_happens(machine):
    follower = machine.popen("wrapctl", "--json", "monitor", user="bob")
    follower.wait_line("{")
    assert machine.run("sh", "-c", "wrap --quiet -- python3 /usr/local/e2e/connect.py /run/docker.sock", user="alice").returncode == 0
    follower.wait_line("/run/docker.sock")
    follower.kill()


def test_log_reads_the_journal(machine):
    cursor = machine.cursor()
    machine.run("sh", "-c", "wrap --quiet -- python3 /usr/local/e2e/connect.py /run/docker.sock", user="alice")
    session = events.of_session(machine, cursor)[0]["WRAPD_SESSION_ID"]
    shown = machine.root("wrapctl", "log", session[:8]).stdout
    assert "/run/docker.sock" in shown and "no-docker" in shown
    lines = [json.loads(line) for line in machine.root("wrapctl", "--json", "log", session).stdout.splitlines()]
    assert {line["session_id"] for line in lines} == {session}
    assert "unix_socket_op" in {line["type"] for line in lines}


@pytest.mark.parametrize("user", ["root", "alice"])
def test_doctor_finds_nothing_wrong(machine, user):
    machine.write("/etc/wrapd/wrapd.yaml", "version: 1\naccess: [{users: ['*'], policies: [default], default: default}]\n")
    machine.root("systemctl", "reload-or-restart", "wrapd.service")
    argv = ("wrapctl", "doctor")
    done = machine.root(*argv, check=False) if user == "root" else machine.run(*argv, user=user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " failed " not in done.stdout, done.stdout


def test_policies_are_shown_to_those_they_are_for(machine):
    def names(user):
        return {row[0] for row in api.answer(machine, "ListPolicies", user=user)[0]}
    assert names("alice") == {"agents", "audited", "open"}
    assert names("bob") == {"builders"}
    assert names("carol") == set()
    assert names("root") >= {"agents", "audited", "open", "builders", "default"}
    done = machine.run("wrapctl", "policy", "show", "builders", user="alice")
    assert done.returncode == 2 and "builders" in done.stderr
    assert "no-redis" in machine.run("wrapctl", "policy", "show", "builders", user="bob").stdout
    verdict, = api.answer(machine, "TestPolicy", "sss", "", "connect", "/run/docker.sock", user="alice")
    assert api.plain(verdict) == {"decision": "deny", "rule": "no-docker", "guidance": "Ask the build service instead."}


def test_bus_that_restarts(machine, session):
    """The service goes on without its API, and has it again when the bus is back."""
    job, found = session
    machine.root("systemctl", "restart", "dbus.service", check=False)
    # Debian 13's goes on without the new bus, and who logs in waits for it in vain.
    machine.root("systemctl", "restart", "systemd-logind.service", timeout=60)
    api.wait_for(machine, lambda m: api.call(m, "ListSessions").returncode, lambda code: code == 0)
    assert [s["id"] for s in api.sessions(machine)] == [found["id"]]
    assert machine.run(*wrap("true"), user="alice").returncode == 0


def test_flood_of_calls_from_one_user(machine, session):
    _, found = session
    script = ("import subprocess, sys\n"
              "callers = [subprocess.Popen(['sh', '-c', 'while :; do busctl --system call org.wrapd1 /org/wrapd1 "
              "org.wrapd1.Manager ListSessions >/dev/null 2>&1; done']) for _ in range(8)]\n"
              "print('flooding', flush=True)\nsys.stdin.read()\n"
              "for caller in callers: caller.kill()\n")
    flood = machine.popen("python3", "-c", script, user="bob")
    flood.wait_line("flooding")
    for _ in range(5):
        assert api.sessions(machine, user="alice")[0]["id"] == found["id"]
        assert machine.run(*wrap("true"), user="dave").returncode == 0
    flood.kill()
