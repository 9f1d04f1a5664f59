# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import signal
import stat
import subprocess
import time

import checks
import pytest
from lib import wrapctl as world

# What a hostile program calls itself, as it would look if the service did not escape it: colours, a title, lines of its
# own, C1 controls, a reversed reading order, wide and combining characters.
EVIL = "\x1b[31mred\x1b]0;title\x07\nFORGED\tline\u009b2J\u202eesrever \u65e5\u672c\u8a9e e\u0301 \U0001f600 \\x1b[0m"
EVIL_SHOWN = ("\\x1b[31mred\\x1b]0;title\\x07\\x0aFORGED\\x09line\\xc2\\x9b2J\\xe2\\x80\\xaeesrever "
              "\u65e5\u672c\u8a9e e\u0301 \U0001f600 \\x1b[0m")
WIDE = "\u65e5\u672c\u8a9e" * 40


def session(number, **facts):
    id = facts.pop("id", f"{number:08x}" + "0" * 24)
    return {"id": id, "object": f"/org/wrapd1/session/{id}", "uid": 0, "leader": 100 + number, "policy": "default",
            "mode": "enforce", "state": "running", "since": 1767225600123456, "command": f"make -j{number}", "allowed": 7,
            "denied": 0, "stale": False, **facts}


def approval(number, **facts):
    return {"id": f"{number:08x}" + "f" * 8, "session": "/org/wrapd1/session/" + "0" * 32, "uid": 0,
            "operation": "connect", "target": "/run/docker.sock", "abstract": False, "rule": "docker", "policy": "default",
            "guidance": "ask", "pid": 4242, "comm": "curl", "exe": "/usr/bin/curl", "deadline": 4102444800000000, **facts}


def policy(name, **facts):
    return {"name": name, "file": f"/etc/wrapd/policies/{name}.yaml", "mode": "enforce", "problem": "", "default": False,
            "text": f"version: 1\nname: {name}\n", **facts}


def as_documented(facts, *left_out):
    return {k: v for k, v in facts.items() if k not in left_out}


def test_list_and_show(wrapctl, serve):
    sessions = [session(1), session(2, uid=65534, denied=3, stale=True, mode="audit", command="sh -c 'a b'"),
                session(3, state="terminating", uid=4294967000)]
    serve(sessions=sessions)
    checks.lists_sessions(wrapctl, [as_documented(s, "since") for s in sessions])
    checks.shows_session(wrapctl, sessions[1])
    listed = checks.document(wrapctl.run("list", "--json"))["sessions"]
    assert [s["user"] for s in listed] == ["root", "nobody", "4294967000"]
    assert listed[0]["since"] == "2026-01-01T00:00:00.123Z"
    mine = [s for s in sessions if s["uid"] == os.getuid()]
    assert len(checks.document(wrapctl.run("list", "--json", "--mine"))["sessions"]) == len(mine)


def test_nothing_there(wrapctl, serve):
    serve()
    checks.lists_sessions(wrapctl, [])
    checks.lists_policies(wrapctl, [])
    checks.lists_approvals(wrapctl, [])


def test_hostile_text_everywhere(wrapctl, serve):
    serve(sessions=[session(1, command=EVIL, policy=EVIL, mode=EVIL, state=EVIL)],
          approvals=[approval(1, comm=EVIL, target=EVIL, rule=EVIL, exe=EVIL, operation=EVIL, guidance=EVIL)],
          policies=[policy("p", file=EVIL, problem=EVIL, mode=EVIL, text=f"# {EVIL}\nname: p\n")],
          errors={"Reload": ["InvalidPolicy", EVIL]})
    id = session(1)["id"]
    for args in (["list"], ["show", id], ["approvals"], ["policy", "list"], ["policy", "show", "p"], ["reload"]):
        done = wrapctl.run(*args)
        text = done.stdout + done.stderr
        checks.harmless(text)
        # The one newline in the text of a policy is one.
        shown = EVIL_SHOWN.replace("\\x0a", "\n") if "show" in args and "p" in args else EVIL_SHOWN
        assert shown in text and (shown != EVIL_SHOWN or "\nFORGED" not in text)
        status, seen = wrapctl.run_on_terminal(*args, columns=500)
        checks.harmless(seen, colours=True)
        assert status == done.returncode
        json_text = wrapctl.run("--json", *args).stdout
        assert json_text.isascii()
        checks.harmless(json_text)
    assert checks.document(wrapctl.run("list", "--json"))["sessions"][0]["command"] == EVIL_SHOWN


def test_plain_locale_shows_ascii_only(wrapctl, serve):
    serve(sessions=[session(1, command=EVIL)])
    done = wrapctl.run("list", env=world.environment(wrapctl.bus, LANG="C", LC_ALL="C"))
    assert done.stdout.isascii() and "\\xe6\\x97\\xa5" in done.stdout


def width(text):
    import unicodedata
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.parametrize("columns", [1, 7, 20, 40, 79, 80, 132])
def test_no_line_is_longer_than_the_terminal(wrapctl, serve, columns):
    serve(sessions=[session(1, command=WIDE), session(2, policy="p" * 60, command="x" * 300), session(3)],
          approvals=[approval(1, target=WIDE, comm=WIDE, guidance=WIDE)], policies=[policy("p", file="/f" * 99, problem=WIDE)])
    for args in (["list"], ["approvals"], ["policy", "list"]):
        status, seen = wrapctl.run_on_terminal(*args, columns=columns, env=world.environment(wrapctl.bus, NO_COLOR="1"))
        assert status == 0 and "\x1b" not in seen
        lines = seen.replace("\r\n", "\n").splitlines()
        assert len(lines) == {"list": 4, "approvals": 3, "policy": 2}[args[0]]
        assert max(width(line) for line in lines) <= columns
        if columns >= 79:
            assert any("\u2026" in line for line in lines)
    # What is no terminal is cut nowhere.
    assert WIDE in wrapctl.run("list").stdout


def test_colours_on_a_terminal_only(wrapctl, serve):
    serve(sessions=[session(1, denied=3)])
    assert "\x1b[31m3\x1b[0m" in wrapctl.run_on_terminal("list")[1]
    assert "\x1b" not in wrapctl.run_on_terminal("list", env=world.environment(wrapctl.bus, NO_COLOR="1"))[1]
    assert "\x1b" not in wrapctl.run("list").stdout


def test_ids_may_be_abbreviated(wrapctl, serve):
    twins = [session(1, id="abcd1" + "0" * 27), session(2, id="abcd2" + "0" * 27), session(3, id="beef" + "1" * 28)]
    serve(sessions=twins)
    assert checks.document(wrapctl.run("show", "--json", "beef"))["id"] == twins[2]["id"]
    assert checks.document(wrapctl.run("show", "--json", "abcd2"))["id"] == twins[1]["id"]
    checks.fails(wrapctl, ["show", "abcd"], "InvalidArgument", twins[0]["id"], twins[1]["id"], "several")
    checks.fails(wrapctl, ["show", "bee"], "InvalidArgument", "at least 4")
    checks.fails(wrapctl, ["show", "BEEF"], "InvalidArgument", "hexadecimal")
    checks.fails(wrapctl, ["show", "\x1b[31m"], "InvalidArgument", "\\x1b")
    checks.fails(wrapctl, ["show", ""], "InvalidArgument")
    checks.fails(wrapctl, ["show", "0123"], "NoSuchSession", "wrapctl list")
    checks.fails(wrapctl, ["terminate", "beef", "abcd"], "InvalidArgument", "several")
    checks.lists_sessions(wrapctl, [{"id": s["id"]} for s in twins])  # a mistake in one id ends nothing


def test_terminate(wrapctl, serve):
    sessions = [session(n, uid=n // 3) for n in range(9)]
    service = serve(sessions=sessions)
    checks.terminates(wrapctl, sessions[0]["id"], sessions[4]["id"])
    assert [c["arguments"] for c in service.calls_of("TerminateSession")] == [[sessions[0]["id"]], [sessions[4]["id"]]]
    assert checks.document(wrapctl.run("terminate", "--json", "--user", "2")) == {"count": 3, "terminated": [], "failed": []}
    assert wrapctl.run("terminate", "--user", "root").stdout == "terminated 2 sessions\n"
    assert wrapctl.run("terminate", "--all").stdout == "terminated 2 sessions\n"
    assert [c["arguments"] for c in service.calls_of("TerminateUser")] == [[2], [0], [1]]
    assert all(c["interactive"] for c in service.calls_of("TerminateSession") + service.calls_of("TerminateUser"))
    assert not any(c["interactive"] for c in service.calls_of("ListSessions"))
    checks.lists_sessions(wrapctl, [])


def test_terminate_says_what_it_could_not(wrapctl, serve):
    serve(sessions=[session(1)], errors={"TerminateSession": ["NotAuthorized", "polkit says no"],
                                         "TerminateUser": ["AuthorizationUnavailable", "polkit is not there"]})
    checks.fails(wrapctl, ["terminate", "00000001"], "NotAuthorized", "terminate session 00000001", "polkit says no", "as root")
    checks.fails(wrapctl, ["terminate", "--user", "0"], "AuthorizationUnavailable", "sessions of root", "polkit.service")
    checks.fails(wrapctl, ["terminate", "--user", "no-such-user"], "InvalidArgument", "no-such-user")
    for args in ([], ["--all", "--user", "0"], ["--all", "00000001"]):
        done = wrapctl.run("terminate", *args)
        assert done.returncode == 2 and done.stderr


def test_policies(wrapctl, serve):
    good = policy("good", default=True)
    bad = policy("bad", problem="/etc/wrapd/policies/bad.yaml:1:1: no", mode="")
    serve(policies=[good, bad])
    checks.lists_policies(wrapctl, [as_documented({**good, "problem": None}, "text"),
                                    as_documented({**bad, "mode": None}, "text")])
    checks.shows_policy(wrapctl, "good", good["text"])
    checks.fails(wrapctl, ["policy", "show", "none"], "NoSuchPolicy", "none", "wrapctl policy list")


def test_approvals(wrapctl, serve):
    first, second = approval(1), approval(2, abstract=True, target="name", guidance="x\x1by")
    third = approval(3, guidance="")
    service = serve(approvals=[first, second, third])
    checks.lists_approvals(wrapctl, [as_documented({**a, "session": "0" * 32}, "deadline")
                                     for a in (first, {**second, "guidance": "x\\x1by"}, third)])
    table = wrapctl.run("approvals").stdout.splitlines()
    assert table[3].endswith("@name")
    # The guidance is below its question; the third has none.
    assert (table[2], table[4]) == ("  ask", "  x\\x1by") and len(table) == 6
    assert checks.document(wrapctl.run("approvals", "allow", "--json", "00000001")) == {"id": first["id"], "answer": "allowed"}
    assert wrapctl.run("approvals", "deny", second["id"]).stdout == f"denied {second['id']}\n"
    assert [c["arguments"] for c in service.calls_of("Approve")] == [[first["id"]]]
    assert [(c["arguments"], c["interactive"]) for c in service.calls_of("Deny")] == [([second["id"]], True)]
    checks.fails(wrapctl, ["approvals", "allow", "00000001"], "NoSuchApproval", "wrapctl approvals")
    assert wrapctl.run("approvals", "perhaps", "00000003").returncode == 2


def test_completion_offers_ids_alone(wrapctl, serve):
    serve(approvals=[approval(1), approval(2, guidance="")])
    script = pathlib.Path(__file__).parents[3] / "client/wrapctl/completion/wrapctl"
    path = f"{pathlib.Path(world.WRAPCTL).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", f"source '{script}'; _wrapctl_ids approvals"], capture_output=True, text=True,
                          env=world.environment(wrapctl.bus, PATH=path), timeout=world.TIMEOUT)
    assert done.stdout.splitlines() == ["00000001", "00000002"], done


def test_reload(wrapctl, serve):
    service = serve()
    assert checks.document(wrapctl.run("reload", "--json")) == {"reloaded": True}
    assert service.calls_of("Reload")[0]["interactive"]
    service.tell(state={"errors": {"Reload": ["InvalidPolicy", "/etc/wrapd/policies/a.yaml:3:1: unknown key 'x'"]}})
    checks.fails(wrapctl, ["reload"], "InvalidPolicy", "a.yaml:3:1", "stays in force")


@pytest.mark.parametrize("name, code, advice", [
    ("NotPermitted", "NotPermitted", "wrapd.yaml"), ("LimitExceeded", "LimitExceeded", "wait"),
    ("Confined", "Confined", "outside of the sandbox"), ("AuthorizationRequired", "AuthorizationRequired", "on a terminal"),
    ("AuthorizationDismissed", "AuthorizationDismissed", "turned away"),
    ("AuthorizationTimeout", "AuthorizationTimeout", "nobody answered"), ("Internal", "Internal", "journalctl -u wrapd"),
    ("org.freedesktop.DBus.Error.AccessDenied",) * 2 + ("org.wrapd1.conf",),
    ("org.freedesktop.DBus.Error.UnknownMethod",) * 2 + ("systemctl restart wrapd",),
    ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",) * 2 + ("on a terminal",),
    ("org.freedesktop.systemd1.UnitMasked",) * 2 + ("systemctl status wrapd",),
    ("com.example.Other", "com.example.Other", "journalctl -u wrapd")])
def test_errors_say_what_to_do(wrapctl, serve, name, code, advice):
    service = serve(errors={"Reload": [name, "what went wrong"]})
    checks.fails(wrapctl, ["reload"], code, "cannot reload", advice)
    if name.count(".") == 0:
        # A message that says what to do itself is left alone.
        service.tell(state={"errors": {"Reload": [name, "this; do that"]}})
        checks.fails(wrapctl, ["reload"], code, "cannot reload: this; do that\n")


def test_service_that_is_not_there(wrapctl):
    for args in (["list"], ["show", "abcd"], ["monitor"], ["policy", "list"], ["approvals"], ["reload"]):
        checks.fails(wrapctl, args, "org.freedesktop.DBus.Error.ServiceUnknown", "offers org.wrapd1", "systemctl start wrapd")


def test_service_that_dies_in_the_call(wrapctl, serve):
    serve(errors={"ListSessions": "exit"})
    assert "did not answer" in wrapctl.run("list").stderr


def refuse_to_connect():
    """As the inside of a session whose policy denies the bus: no_new_privs, and a filter that answers EACCES."""
    import ctypes
    import platform
    import struct
    number = {"x86_64": 42, "aarch64": 203}[platform.machine()]
    program = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 13), (0x06, 0, 0, 0x7FFF0000)))
    held = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def test_inside_of_a_sandbox(wrapctl, serve):
    serve()
    done = wrapctl.run("list", preexec_fn=refuse_to_connect)
    assert (done.returncode, done.stderr) == (2, "wrapctl: cannot reach the system bus: this is the inside of a wrapped "
                                                 "session, or another sandbox; run it outside\n")
    done = wrapctl.run("list", "--json", preexec_fn=refuse_to_connect)
    assert json.loads(done.stdout)["code"] == "Confined"
    doctor = wrapctl.run("doctor", preexec_fn=refuse_to_connect)
    assert "run it outside" in doctor.stdout and "org.wrapd1.conf" not in doctor.stdout


def test_no_bus():
    nobody = world.Wrapctl(None)
    checks.fails(nobody, ["list"], "org.freedesktop.DBus.Error.FileNotFound", "no system bus", "systemctl start dbus")


class Monitor:
    def __init__(self, wrapctl, *args):
        self.process = wrapctl.popen("monitor", *args)
        self.lines = world.Lines(self.process.stdout.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def event(self):
        return json.loads(self.lines.next())


def manager(member, signature, arguments, destination=None):
    return {"path": "/org/wrapd1", "interface": "org.wrapd1.Manager", "member": member, "signature": signature,
            "arguments": arguments, "destination": destination}


def denied(id, target, destination=None, count=1, operation="connect", second="", rule="no-docker", policy="agents"):
    return {"path": f"/org/wrapd1/session/{id}", "interface": "org.wrapd1.Session", "member": "Denied",
            "signature": "(a{sv})", "arguments": [{
                "operation": ("s", operation), "target": ("s", target), "second": ("s", second),
                "abstract": ("b", False), "rule": ("s", rule), "policy": ("s", policy), "pid": ("u", 77),
                "comm": ("s", "curl"), "count": ("t", count),
                "later": ("as", ["x"])}],
            "destination": destination}


def test_monitor(wrapctl, serve):
    old, new = session(1), session(2, uid=65534, command=EVIL)
    service = serve(sessions=[old])
    with Monitor(wrapctl, "--json") as monitor:
        watching = monitor.event()
        assert (watching["event"], watching["sessions"], watching["approvals"]) == ("watching", 1, 0)
        service.tell(state={"sessions": [old, new]}, emit=manager("SessionNew", "(soa{sv})", [new["id"], new["object"], {}]))
        event = monitor.event()
        assert event["event"] == "session_new" and event["user"] == "nobody" and event["command"] == EVIL_SHOWN
        assert checks.TIME.fullmatch(event["time"])
        service.tell(emit=denied(new["id"], EVIL, count=5))
        event = monitor.event()
        assert event["event"] == "denied" and event["target"] == EVIL_SHOWN and event["count"] == 5
        assert event["user"] == "nobody" and event["session"] == new["id"]
        question = approval(1)
        service.tell(state={"approvals": [question]},
                     emit=manager("ApprovalRequested", "(soa{sv})", [question["id"], question["session"], {}]))
        event = monitor.event()
        assert event["event"] == "approval_requested" and event["comm"] == "curl" and event["id"] == question["id"]
        service.tell(state={"approvals": []}, emit=manager("ApprovalRemoved", "(soa{sv})", [
            question["id"], question["session"], {"how": ("s", "expired")}]))
        event = monitor.event()
        assert (event["event"], event["how"]) == ("approval_removed", "expired")
        service.tell(state={"sessions": [old]}, emit=manager("SessionRemoved", "(soa{sv})", [new["id"], new["object"], {}]))
        event = monitor.event()
        assert (event["event"], event["id"], event["user"]) == ("session_removed", new["id"], "nobody")
        # One that has gone before it could be asked about.
        service.tell(emit=manager("SessionNew", "(soa{sv})", [new["id"], new["object"], {}]))
        assert set(monitor.event()) == {"event", "id", "time"}
        service.tell(emit=denied(new["id"], "/x"))
        assert "user" not in monitor.event()
        service.tell(emit=manager("SessionRemoved", "(soa{sv})", [new["id"], new["object"], {}]))
        assert set(monitor.event()) == {"event", "id", "time"}


def test_a_known_key_of_another_type_is_refused(wrapctl, serve):
    serve(sessions=[session(1, uid="0", types={"Uid": "s"})])
    done = wrapctl.run("list")
    assert done.returncode != 0 and done.stderr.startswith("wrapctl: cannot list the sessions: "), done.stderr
    assert done.stdout == ""


def test_monitor_outlives_a_service_that_dies_in_a_call(wrapctl, serve):
    first = serve()
    with Monitor(wrapctl, "--json") as monitor:
        assert monitor.event()["event"] == "watching"
        first.process.stdin.write(json.dumps({"state": {"errors": {"ListSessions": "exit"}},
                                              "emit": manager("SessionNew", "(soa{sv})", ["ab" * 16, "/x", {}])}).encode() + b"\n")
        first.process.stdin.flush()
        assert monitor.event()["event"] == "service_stopped"
        serve(sessions=[session(7)])
        assert [monitor.event()["event"] for _ in range(2)] == ["service_started", "session_new"]


def test_monitor_for_people(wrapctl, serve):
    service = serve()
    with Monitor(wrapctl) as monitor:
        assert "watching" in monitor.lines.next()
        service.tell(emit=denied("ab" * 16, EVIL, count=3))
        line = monitor.lines.next()
        checks.harmless(line)
        assert f"denied connect {EVIL_SHOWN} by curl[77] of session abababab, rule no-docker (and 2 more)" in line
        for call, shown in (({"operation": "rename", "second": "/b"}, "rename /a to /b by"),
                            ({"operation": "rename", "second": EVIL}, f"rename /a to {EVIL_SHOWN} by"),
                            ({"rule": ""}, "no rule of policy agents allows it"),
                            ({"rule": "", "policy": ""}, ", whatever the policy says (wrapctl log has the reason)")):
            service.tell(emit=denied("ab" * 16, "/a", **call))
            line = monitor.lines.next()
            checks.harmless(line)
            assert shown in line
        service.tell(emit=denied("ab" * 16, "", operation="socket", rule="", policy=""))
        assert "denied socket by curl[77]" in monitor.lines.next()
        for number, guidance, shown in ((1, EVIL, f" (guidance: {EVIL_SHOWN})"), (2, "", ""),
                                        (3, "a" * 500 + "z", f" (guidance: {'a' * 128}\u2026{'a' * 126}z)")):
            question = approval(number, guidance=guidance)
            service.tell(state={"approvals": [question]},
                         emit=manager("ApprovalRequested", "(soa{sv})", [question["id"], question["session"], {}]))
            line = monitor.lines.next()
            checks.harmless(line)
            assert line.endswith(f"connect /run/docker.sock? wrapctl approvals allow|deny 0000000{number}{shown}")


def test_monitor_believes_the_service_alone(wrapctl, serve, bus):
    """Anybody can address a signal to wrapctl. The bus delivers it, and sd-bus lets it through."""
    service = serve(sessions=[])
    stranger = serve(own=False)
    with Monitor(wrapctl, "--json") as monitor:
        assert monitor.event()["event"] == "watching"
        names = subprocess.run(["busctl", f"--address={bus.address}", "list", "--json=short"], capture_output=True, text=True,
                               check=True, timeout=world.TIMEOUT).stdout
        watcher = next(e["name"] for e in json.loads(names) if e["pid"] == monitor.process.pid)
        stranger.tell(emit=denied("ab" * 16, "/forged", destination=watcher))
        stranger.tell(emit=manager("SessionRemoved", "(soa{sv})", ["ab" * 16, "/x", {}], destination=watcher))
        service.tell(emit=denied("cd" * 16, "/real", destination=watcher))
        assert monitor.event()["target"] == "/real"


def test_monitor_survives_a_restart_of_the_service(wrapctl, serve):
    stays, goes, comes = session(1), session(2), session(3)
    first = serve(sessions=[stays, goes], approvals=[approval(1)])
    with Monitor(wrapctl, "--json") as monitor:
        assert monitor.event()["sessions"] == 2
        second = serve(own=False, sessions=[stays, comes])
        first.tell(own=False)
        assert monitor.event()["event"] == "service_stopped"
        second.tell(own=True)
        told = [monitor.event() for _ in range(4)]
        assert [e["event"] for e in told] == ["service_started", "session_new", "session_removed", "approval_removed"]
        assert told[1]["id"] == comes["id"] and told[2]["id"] == goes["id"] and told[3]["how"] == "withdrawn"
        # What the one that was replaced still says counts no more.
        first.tell(emit=denied("ab" * 16, "/old"))
        second.tell(emit=denied("cd" * 16, "/new"))
        assert monitor.event()["target"] == "/new"


def test_monitor_says_that_the_bus_has_gone(tmp_path):
    bus = world.Bus(tmp_path)
    service = world.ServiceSide(bus)
    try:
        with Monitor(world.Wrapctl(bus)) as monitor:
            monitor.lines.next()
            bus.stop()
            assert monitor.process.wait(world.TIMEOUT) == 2
            assert b"cannot go on watching" in monitor.process.stderr.read()
    finally:
        service.stop()


AGENT = """#!/bin/sh
echo "$@" >"{log}"
# What a real one does while a password is typed.
stty -echo
eval "sleep 1000 $2>&- &"
sleeper=$!
trap 'kill $sleeper; echo ended >>"{log}"; exit 0' TERM HUP
eval "exec $2>&-"
wait
"""


@pytest.fixture
def agent(tmp_path):
    """A pkttyagent in PATH; a terminal is spoken to by users other than root."""
    if os.getuid() != 0:
        pytest.skip("needs root, to run wrapctl as another user")
    os.chmod(tmp_path, 0o777)
    for parent in list(tmp_path.parents)[:2]:
        os.chmod(parent, os.stat(parent).st_mode | stat.S_IXOTH)
    log = tmp_path / "log"
    program = tmp_path / "pkttyagent"
    program.write_text(AGENT.format(log=log))
    program.chmod(0o755)
    return program, log


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def on_terminal(wrapctl, agent, *args):
    program, _ = agent
    env = world.environment(wrapctl.bus, PATH=f"{program.parent}:{os.environ['PATH']}")
    return wrapctl.run_on_terminal(*args, preexec_fn=as_nobody, env=env)


@pytest.fixture
def open_bus(bus):
    """Directories of pytest are root's alone, and so is the way to the built program, perhaps."""
    for path in [bus.socket.parent, *list(bus.socket.parents)[1:3]]:
        os.chmod(path, os.stat(path).st_mode | stat.S_IXOTH)
    os.chmod(bus.socket, 0o777)
    return bus


def test_agent_of_a_bare_terminal(wrapctl, serve, agent, open_bus):
    serve()
    status, seen = on_terminal(wrapctl, agent, "reload")
    assert (status, "reloaded" in seen) == (0, True), seen
    called, ended = agent[1].read_text().splitlines()
    words = called.split()
    assert words[0] == "--notify-fd" and words[2:4] == ["--fallback", "--process"] and ended == "ended"
    # run_on_terminal() has seen that echo is on again.


def test_agent_is_not_started_where_nobody_is_asked(wrapctl, serve, agent, open_bus):
    serve(sessions=[session(1)])
    for args in (["--no-ask-password", "reload"], ["list"], ["approvals"], ["policy", "list"]):
        assert on_terminal(wrapctl, agent, *args)[0] == 0
    program, log = agent
    env = world.environment(wrapctl.bus, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert wrapctl.run("reload", env=env, preexec_fn=as_nobody).returncode == 0  # no terminal
    assert wrapctl.run_on_terminal("reload", env=env)[0] == 0  # root
    assert not log.exists()


def test_agent_that_cannot_be_started(wrapctl, serve, agent, open_bus):
    serve()
    agent[0].chmod(0o644)
    env = world.environment(wrapctl.bus, PATH=str(agent[0].parent))
    status, seen = wrapctl.run_on_terminal("reload", preexec_fn=as_nobody, env=env)
    assert status == 0 and "cannot start pkttyagent" in seen
    agent[0].unlink()  # a machine without polkit
    status, seen = wrapctl.run_on_terminal("reload", preexec_fn=as_nobody, env=env)
    assert status == 0 and "pkttyagent" not in seen


def test_agent_ends_with_wrapctl(wrapctl, serve, agent, open_bus):
    """Killed while it waits for an answer, wrapctl leaves neither an agent nor a dumb terminal behind."""
    service = serve(hang=["Reload"])
    program, log = agent
    env = world.environment(wrapctl.bus, PATH=f"{program.parent}:{os.environ['PATH']}")

    def interrupt(process):
        service._until("call")
        process.send_signal(signal.SIGTERM)

    status, _ = wrapctl.run_on_terminal("reload", preexec_fn=as_nobody, env=env, meanwhile=interrupt)
    assert status == -signal.SIGTERM
    deadline = time.monotonic() + world.TIMEOUT
    while "ended" not in log.read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_help_and_usage(wrapctl):
    for args in ([], ["list"], ["show"], ["terminate"], ["monitor"], ["log"], ["approvals"], ["approvals", "allow"],
                 ["reload"], ["doctor"], ["policy"], ["policy", "list"], ["policy", "show"], ["policy", "check"],
                 ["policy", "test"]):
        done = wrapctl.run(*args, "--help")
        assert done.returncode == 0 and "Usage:" in done.stdout and not done.stderr, args
        assert max(map(len, done.stdout.splitlines())) <= 130
    for args in ([], ["nonsense"], ["list", "--nonsense"], ["show"], ["policy"], ["log", "-n", "0"],
                 ["log", "-n", "5", "--since", "1h"]):
        done = wrapctl.run(*args)
        assert done.returncode == 2 and done.stderr, args
    assert wrapctl.run("--version").stdout.startswith("wrapctl ")


def test_a_full_disk_is_no_answer(wrapctl, serve):
    serve(sessions=[session(1)])
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([world.WRAPCTL, "list"], env=world.environment(wrapctl.bus), stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=world.TIMEOUT)
    assert done.returncode == 2 and "standard output" in done.stderr
