# SPDX-License-Identifier: Apache-2.0
"""What the service orders a real supervisor to do, and the attacks on it: questions and their answers, and the end of a
session. The test plays the part of the service that gives the orders."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.daemon import SUPERVISOR
from lib.peers import PATIENCE
from lib.sessions import WRAP
from lib.users import ALICE

RELAY = Path(__file__).resolve().parent / "supervisor_relay.py"
pytestmark = pytest.mark.skipif(not WRAP, reason="WRAPD_TEST_WRAP names no program")

POLICY = """version: 1
name: default
approval: {{timeout: {timeout}}}
unix_socket_rules:
  - {{name: who, paths: ["{place}/ask*", "@ask*"], decision: ask, guidance: "Is it you?"}}
  - {{name: open, paths: ["{place}/open*"], decision: allow}}
"""


class Session:
    """wrap with a command, and its supervisor's channel."""

    def __init__(self, service, code, *arguments, timeout="60s"):
        self.place = service.root / "place"
        self.place.mkdir()
        os.chown(self.place, ALICE, ALICE)
        service.write_policy("default", text=POLICY.format(place=self.place, timeout=timeout))
        wrapper = service.root / "supervisor"
        wrapper.write_text(f"#!/bin/sh\nexec /usr/bin/python3 -IS {RELAY} {SUPERVISOR} {service.root}\n")
        wrapper.chmod(0o755)
        service.supervisor = wrapper
        service.start()
        self.service = service
        self.process = subprocess.Popen([WRAP, f"--control={service.control}", "--", sys.executable, "-c", code,
                                         str(self.place), *arguments], user=ALICE, group=ALICE, extra_groups=[], cwd="/",
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", (self.process.communicate(), service.text())
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(PATIENCE)
        self.channel.connect(str(service.root / "orders"))

    def report(self, kind):
        """The next report of this kind."""
        while True:
            text = self.channel.recv(1 << 17)
            assert text, f"the channel ended without {kind}:\n{self.service.text()}"
            report = json.loads(text)
            if report["report"] == kind:
                return report

    def order(self, kind, **fields):
        self.channel.send(json.dumps({"version": 1, "order": kind, **fields}).encode())

    def answer(self, question, allow):
        self.order("answer", question=question, allow=allow, by="uid 7")

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self):
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


def serve(path, uid=ALICE):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path) if not str(path).startswith("@") else "\0" + str(path)[1:])
    if not str(path).startswith("@"):
        os.chown(path, uid, uid)
    server.listen(100)
    server.settimeout(0)
    return server


def reached(server):
    try:
        server.accept()[0].close()
        return True
    except BlockingIOError:
        return False


CONNECT = """
import os, socket, sys, threading, signal
place = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
def connect(name):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(name)
        return "connected"
    except OSError as error:
        return os.strerror(error.errno)
"""


@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("name", ["path", "abstract"])
def test_a_question_is_asked_answered_and_remembered(service, allow, name):
    code = CONNECT + f"""
name = place + "/ask" if {name == "path"} else "\\0ask-{os.getpid()}"
print(connect(name), flush=True)
print(connect(name), flush=True)
"""
    session = Session(service, code)
    server = serve(session.place / "ask" if name == "path" else f"@ask-{os.getpid()}")
    session.go()
    question = session.report("question")
    assert question["call"]["operation"] == "connect" and question["call"]["rule"] == "who"
    assert question["guidance"] == "Is it you?" and 50000 < question["timeout_ms"] <= 60000
    assert not reached(server)
    session.answer(question["question"] + 1, True)
    session.answer(question["question"], allow)
    assert session.report("question-gone")["how"] == ("allowed" if allow else "denied")
    expected = "connected" if allow else "Permission denied"
    assert (session.line(), session.line()) == (expected, expected)
    status, _, err = session.end()
    assert status == 0
    assert ("denied by uid 7" in err) == (not allow), err
    assert err.count(" waits for an answer (wrapctl approvals)\n") == 1, err
    asked, answered = service.wait_for_event("approval", 2)
    assert (asked["action"], asked["question"]) == ("asked", question["question"])
    assert (answered["action"], answered["by"]) == ("allowed" if allow else "denied", "uid 7")
    done = service.events("unix_socket_op")
    assert [event["decision"] for event in done] == ["ask", "ask"]
    assert {event["action"] for event in done} == {"allowed" if allow else "denied"}


def test_nobody_answers(service):
    session = Session(service, CONNECT + 'print(connect(place + "/ask"), flush=True)', timeout="1s")
    server = serve(session.place / "ask")
    session.go()
    assert session.line() == "Permission denied" and not reached(server)
    assert session.report("question-gone")["how"] == "expired"
    assert "(rule who of policy default): nobody answered in time\n    Is it you?\n" in session.end()[2]


def test_the_service_was_stopped(service):
    session = Session(service, CONNECT + 'print(connect(place + "/ask"), flush=True)\nprint(connect(place + "/ask2"), flush=True)')
    serve(session.place / "ask")
    serve(session.place / "ask2")
    session.go()
    session.report("question")
    session.channel.send(b"hang up")
    assert (session.line(), session.line()) == ("Permission denied", "Permission denied")
    status, _, err = session.end()
    assert status == 0 and "the service was stopped" in err


def test_another_socket_by_that_name_is_another_question(service):
    session = Session(service, CONNECT + 'print(connect(place + "/ask"), flush=True)')
    serve(session.place / "ask")
    session.go()
    question = session.report("question")
    os.rename(session.place / "ask", session.place / "old")
    second = serve(session.place / "ask")
    session.answer(question["question"], True)
    again = session.report("question")
    assert again["question"] != question["question"] and not reached(second)
    session.answer(again["question"], False)
    assert session.line() == "Permission denied" and not reached(second)


def test_an_answer_is_for_what_was_asked(service):
    """The program writes another address over the one that waits; the answer for the first does not reach the second."""
    code = CONNECT + """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket(socket.AF_UNIX)
first = (b"\\x01\\x00" + (place + "/ask-a").encode() + b"\\0" * 110)[:110]
other = (b"\\x01\\x00" + (place + "/ask-b").encode() + b"\\0" * 110)[:110]
memory = ctypes.create_string_buffer(first, 110)
def overwrite():
    sys.stdin.readline()
    ctypes.memmove(memory, other, 110)
    print("written", flush=True)
threading.Thread(target=overwrite, daemon=True).start()
rc = libc.connect(s.fileno(), memory, 110)
print(os.strerror(ctypes.get_errno()) if rc else "connected", flush=True)
"""
    session = Session(service, code)
    a, b = serve(session.place / "ask-a"), serve(session.place / "ask-b")
    session.go()
    question = session.report("question")
    session.go()
    assert session.line() == "written"
    session.answer(question["question"], True)
    second = session.report("question")
    assert second["call"]["target"].endswith("/ask-b") and not reached(a) and not reached(b)
    session.answer(second["question"], False)
    assert session.line() == "Permission denied"
    assert not reached(a) and not reached(b)


def test_a_flood_of_questions_is_limited_and_answers_are_not(service):
    code = CONNECT + """
def one(i): connect(place + f"/ask{i}")
threads = [threading.Thread(target=one, args=(i,)) for i in range(1000)]
threading.stack_size(65536)
for t in threads: t.start()
print(connect(place + "/open"), flush=True)
for t in threads: t.join()
"""
    session = Session(service, code, timeout="1s")
    servers = [serve(session.place / f"ask{i}") for i in range(1000)]
    opened = serve(session.place / "open")
    began = time.monotonic()
    session.go()
    assert session.line() == "connected", "what needs no answer is not held up"
    assert session.end()[0] == 0
    took = time.monotonic() - began
    asked = [event for event in service.events("approval") if event["action"] == "asked"]
    assert 5 <= len(asked) <= 5 + 10 * took + 1, (len(asked), took)
    assert reached(opened) and not any(reached(server) for server in servers)


def test_a_fatal_signal_ends_a_waiting_program(service):
    code = CONNECT + 'pid = os.fork()\nif pid == 0: connect(place + "/ask")\nprint(pid, flush=True)\nprint(os.wait()[1], flush=True)'
    session = Session(service, code)
    serve(session.place / "ask")
    session.go()
    pid = int(session.line())
    session.report("question")
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert session.line() == "9" and time.monotonic() - began < 2
    assert session.report("question-gone")["how"] == "withdrawn"


def test_a_storm_of_signals_asks_once(service):
    code = CONNECT + """
caught, catcher = os.pipe()
os.set_blocking(catcher, False)
signal.set_wakeup_fd(catcher)  # a byte from each run of the handler in C
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
result = connect(place + "/ask")
signal.setitimer(signal.ITIMER_REAL, 0)
print(result, len(os.read(caught, 1000)) > 3, flush=True)
"""
    session = Session(service, code, timeout="3s")
    serve(session.place / "ask")
    session.go()
    began = time.monotonic()
    assert session.line() == "Permission denied True"
    assert 2 < time.monotonic() - began < 6, "the deadline does not move"
    session.end()
    asked = [event for event in service.events("approval") if event["action"] == "asked"]
    assert len(asked) == 1, asked


# The signal of a child is for the thread that has it. The other one, which waits as well, may be interrupted but must not
# see an error that is the kernel's own. In C: Python takes an interrupted connect() for one that goes on by itself.
def test_a_signal_for_one_of_two_that_ask_is_not_an_error_for_the_other(service):
    code = CONNECT + """
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
address = b"\\1\\0" + (place + "/ask").encode() + b"\\0"
def connect_in_c():
    s = socket.socket(socket.AF_UNIX)
    while libc.connect(s.fileno(), address, len(address)) < 0:
        if ctypes.get_errno() != 4: return ctypes.get_errno()
    return 0
caught, catcher = os.pipe()
os.set_blocking(catcher, False)
signal.set_wakeup_fd(catcher)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.siginterrupt(signal.SIGCHLD, False)
results = []
def other():
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
    results.append(connect_in_c())
thread = threading.Thread(target=other)
thread.start()
result = connect_in_c()
thread.join()
print(result, *results, len(os.read(caught, 100)), flush=True)
"""
    session = Session(service, code, timeout="3s")
    serve(session.place / "ask")
    session.go()
    assert session.line() == "13 13 1"
    session.end()


# ---- the end of a session

TREES = {
    "plain": "time.sleep(1000)",
    "ignores signals": "[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]\ngrown()\ntime.sleep(1000)",
    "daemons": """
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() > 0: os._exit(0)
        time.sleep(1000)
time.sleep(1000)""",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "calls": "while True: connect(place + '/closed')",
    "asks": "connect(place + '/ask')",
    "bomb": """
for _ in range(3):
    if os.fork() == 0:
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if os.fork() > 0: os._exit(0)
        os._exit(0)
time.sleep(1000)""",
}


@pytest.mark.parametrize("tree", TREES)
def test_terminate_ends_the_tree_and_wrap_says_why(service, tree):
    code = CONNECT + "import time\ndef grown(): pass\nprint('grown', flush=True)\n" + TREES[tree]
    session = Session(service, code)
    serve(session.place / "ask")
    session.go()
    assert session.line() == "grown"
    if tree == "asks":
        session.report("question")
    began = time.monotonic()
    session.order("terminate", reason="uid 0")
    assert session.report("state")["state"] in ("ready", "running", "terminating")
    status, _, err = session.end()  # the end of its output: nobody holds it any more
    assert status == 137 and "wrap: the session was ended by uid 0\n" in err, (status, err)
    assert time.monotonic() - began < 12
    while session.report("state")["state"] != "finished":
        pass
    closed, = service.wait_for_event("session_closed")
    assert closed["reason"] == "terminated by uid 0"


@pytest.mark.parametrize("how", ["exited", "killed"])
def test_terminate_ends_what_wrap_left_behind(service, how):
    code = CONNECT + """
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0: os._exit(0)
    connect(place + "/closed")
    print(os.getpid(), flush=True)
    os.close(0); os.close(1); os.close(2)
    time.sleep(1000)
os.wait()
sys.stdin.readline()
"""
    session = Session(service, code)
    session.go()
    left = os.pidfd_open(int(session.line()))
    if how == "killed":
        session.process.kill()
    else:
        session.go()
    session.end()
    assert not select.select([left], [], [], 0)[0], "it lives on, supervised"
    session.order("terminate", reason="uid 0")
    assert select.select([left], [], [], PATIENCE)[0]
    while session.report("state")["state"] != "finished":
        pass
    os.close(left)
