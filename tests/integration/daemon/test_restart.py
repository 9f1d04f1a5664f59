# SPDX-License-Identifier: Apache-2.0
"""Restarts: the service is killed, ended and started again under manager.py, and its sessions are counted."""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lib.daemon import KEEPER, POLICY, PROBE, SUPERVISOR, WRAPD
from lib.manager import Manager
from lib.peers import PATIENCE, Peer
from lib.users import ALICE, BOB

WRAP = os.environ.get("WRAPD_TEST_WRAP", "")
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
LIMITS = "limits: {{sessions_per_user: {}, pending_per_user: 256, sessions: 4096}}\n"
CONFIG = "version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n" + LIMITS.replace("{{", "{").replace("}}", "}")


class Managed:
    """A service with its manager, and clients."""

    def __init__(self, root, supervisor, options=(), environment=()):
        self.root = root
        self.log = root / "log"
        self.log.touch()
        self.runtime = root / "run"
        (root / "policies").mkdir()
        (root / "vendor").mkdir()
        self.policy = root / "policies" / "default.yaml"
        self.policy.write_text(POLICY.format(name="default", path="/run/x/*.sock"))
        self.config = root / "wrapd.yaml"
        self.config.write_text(CONFIG.replace("{}", "64"))
        self.command = [WRAPD, f"--config={self.config}", f"--policy-dir={root / 'policies'}",
                        f"--vendor-policy-dir={root / 'vendor'}", f"--runtime-dir={self.runtime}",
                        f"--supervisor={supervisor}", f"--keeper={KEEPER}", *options]
        self.manager = Manager(root / "control", root / "notify", self.command, self.log, environment)
        self.peers = []

    def open(self, uid=ALICE, command="RUN"):
        peer = Peer(self.root / "control", uid)
        self.peers.append(peer)
        return peer, peer.ask(command=command)

    def session(self, uid=ALICE, command="RUN"):
        peer, seen = self.open(uid, command)
        assert seen and "config" in seen, (seen, self.text())
        peer.id = seen["config"]["reply"]["id"]
        peer.supervisor = seen["pid"]
        return peer

    def text(self):
        return self.log.read_text(errors="replace")

    def events(self, kind):
        return [event for line in self.text().splitlines() if line.startswith("{")
                for event in [json.loads(line)] if event["type"] == kind]

    def holds(self, *peers):
        """Waits until these sessions, and no others, are in the store."""
        self.manager.holds(f"session-{peer.id}" for peer in peers)

    def close(self):
        for peer in self.peers:
            peer.close()
        self.manager.close()


@pytest.fixture
def managed(users):
    made = []

    def make(supervisor=PROBE, options=(), environment=()):
        root = Path(tempfile.mkdtemp(prefix="wrapd-test-"))
        root.chmod(0o755)
        made.append(Managed(root, supervisor, options, environment))
        return made[-1]

    yield make
    for one in made:
        one.close()
        shutil.rmtree(one.root)


def is_told(peer, order):
    message = peer.receive()
    assert message and message["order"]["order"] == order, message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_loses_no_session(managed, number):
    """Thirty sessions of two users: each is there, is asked, counts against its user, and is gone when it ends."""
    one = managed()
    one.config.write_text(CONFIG.replace("{}", "20"))
    assert "Serving 0 sessions of 0 users, 1 policy" in one.manager.started()
    peers = [one.session(uid) for uid in [ALICE] * 20 + [BOB] * 10]
    assert one.manager.stored() == sorted(f"session-{peer.id}" for peer in peers)
    assert len(one.manager.store) == 90
    for _ in range(3):
        one.manager.kill(number)
        assert "Serving 30 sessions of 2 users, 1 policy" in one.manager.started()
        for peer in peers:
            is_told(peer, "report")
    _, refusal = one.open(ALICE)
    assert (refusal["code"], "sessions_per_user" in refusal["message"]) == ("limit", True)
    for peer in peers:
        peer.close()
    one.holds()
    assert one.events("session_closed") == []  # each supervisor says that it has recorded its own
    assert list((one.runtime / "sessions").iterdir()) == []


def test_what_died_while_there_was_no_service(managed):
    one = managed()
    one.manager.started()
    killed, finished, alive = one.session(), one.session(), one.session()
    one.manager.kill()
    os.kill(killed.supervisor, signal.SIGKILL)
    finished.close()
    for supervisor in (killed.supervisor, finished.supervisor):
        wait_for_death(supervisor)
    one.manager.started()
    one.holds(alive)
    closed, = one.events("session_closed")
    assert (closed["session_id"], closed["uid"]) == (killed.id, ALICE)
    assert "supervisor died" in closed["reason"]


def wait_for_death(pid):
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select
    assert select.select([fd], [], [], PATIENCE)[0]
    os.close(fd)


@pytest.mark.parametrize("step", ["CONFIG", "READY", "RUNNING"])
def test_a_crash_while_a_session_opens(managed, step):
    """The supervisor has just come that far: it goes on, and is known again."""
    one = managed()
    one.manager.started()
    # The second gets the supervisor that is kept ready, which acts the very moment it has its configuration.
    first = one.session(BOB)
    spare_waits(one.manager.pid, first.supervisor)
    peer, seen = one.open(command=f"RUN KILL-SERVICE-AT-{step}")
    one.manager.wait_for_end()
    assert "config" in seen
    assert "Serving 2 sessions of 2 users" in one.manager.started()
    is_told(peer, "report")
    other = one.session(BOB)
    peer.close()
    one.holds(first, other)


def spare_waits(service, used):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{service}/task/{service}/children").read_text().split():
            if int(child) != used and "skb_wait" in Path(f"/proc/{child}/wchan").read_text():
                return
    raise AssertionError("no supervisor is kept ready")


def test_crashes_at_random_moments(managed):
    """Whatever the moment: who has an answer has a session that the next service knows, and nobody else has."""
    one = managed()
    one.manager.started()
    moments = random.Random(7)
    live = []
    for _ in range(25):
        asking = [Peer(one.root / "control", ALICE) for _ in range(3)]
        one.peers += asking
        for peer in asking:
            peer.send(json.dumps({"version": 1, "request": "open", "command": "RUN", "cwd": "/"}).encode())
        # A moment is a number of reports that were sent, not a time that passed.
        for _ in range(moments.randrange(4)):
            one.manager.wait_for("FDSTORE")
        one.manager.kill()
        one.manager.started()
        # Those who were not accepted yet are served now.
        for peer in asking:
            while True:
                message = peer.receive()
                if message is None:
                    peer.close()
                    break
                if "config" in message:
                    peer.id = message["config"]["reply"]["id"]
                    live.append(peer)
                    break
        one.holds(*live)
        if len(live) > 40:
            while live:
                live.pop().close()
            one.holds()
    assert not [event for event in one.events("session_closed") if "out of order" in event["reason"]], one.text()


def sealed(text, seals=SEALS):
    fd = os.memfd_create("wrapd-session", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, text.encode())
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def facts(session, pid, **changes):
    record = {"version": 1, "record": "session", "id": session, "uid": ALICE, "client_pid": 1, "supervisor_pid": pid,
              "policy": "default", "policy_digest": "0" * 16, "mode": "enforce", "since": 1, "command": "x",
              "waiting_calls": 32}
    return json.dumps({**record, **changes})


def end_order(session, seconds=1000):
    return json.dumps({"version": 1, "record": "end", "id": session, "reason": "ended by uid 7",
                       "deadline": int((time.monotonic() + seconds) * 1e6)})


def users_memfd(uid, text):
    """A memfd that another user made and sealed."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setresuid(uid, uid, uid)
        socket.send_fds(theirs, [b"x"], [sealed(text)])
        os._exit(0)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    ours.close()
    theirs.close()
    return fds[0]


ID = "0123456789abcdef" * 2


@pytest.fixture
def stranger():
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    assert process.poll() is None, "somebody killed a process that is none of the service's"
    process.kill()
    process.wait()


FOREIGN = ["unsealed", "users", "other-id", "nonsense", "tcp", "stream", "listening", "stranger", "no-id", "two-records",
           "no-record", "no-pidfd", "regular", "two-ends", "end-of-other-id", "users-end", "end-alone"]


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_ours_is_dropped(managed, stranger, what):
    """Without the checks each of these becomes a session, or is killed as one that says nothing."""
    one = managed()
    name = f"session-{ID}"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pidfd = os.pidfd_open(stranger.pid)
    record = sealed(facts(ID, stranger.pid))
    parts = [ours.fileno(), pidfd, record]
    extra = socket.socket(socket.AF_INET)
    if what == "unsealed":
        parts[2] = sealed(facts(ID, stranger.pid), 0)
    elif what == "users":
        parts[2] = users_memfd(ALICE, facts(ID, stranger.pid, uid=0))
    elif what == "other-id":
        parts[2] = sealed(facts("f" * 32, stranger.pid))
    elif what == "nonsense":
        parts[2] = sealed(facts(ID, stranger.pid)[:-1] + ', "more": 1}')
    elif what == "tcp":
        parts[0] = extra.fileno()
    elif what == "stream":
        parts[0] = socket.socketpair()[0].detach()
    elif what == "listening":
        parts[0] = one.manager.control.fileno()
    elif what == "stranger":
        parts[2] = sealed(facts(ID, os.getpid()))
    elif what == "no-id":
        name = "something"
    elif what == "two-records":
        parts.append(sealed(facts(ID, stranger.pid)))
    elif what == "no-record":
        parts.pop()
    elif what == "no-pidfd":
        parts.pop(1)
    elif what == "two-ends":
        parts += [sealed(end_order(ID)), sealed(end_order(ID))]
    elif what == "end-of-other-id":
        parts.append(sealed(end_order("f" * 32)))
    elif what == "users-end":
        parts.append(users_memfd(ALICE, end_order(ID)))
    elif what == "end-alone":
        parts[2] = sealed(end_order(ID))
    elif what == "regular":
        parts[1] = os.open(__file__, os.O_RDONLY)
    one.manager.keep(name, *parts)
    assert "Serving 0 sessions" in one.manager.started()
    assert one.text().count(f"what was stored as {name} is no session of ours") == 1, one.text()
    one.manager.settle()
    assert one.manager.stored() == []
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)  # nobody was told anything
    one.session(BOB)


def test_the_same_but_ours_is_believed(managed, stranger):
    """What the tests above rest on: with nothing wrong, this is a session (and is killed if it says nothing)."""
    one = managed()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.manager.keep(f"session-{ID}", ours.fileno(), os.pidfd_open(stranger.pid), sealed(facts(ID, stranger.pid)))
    assert "Serving 1 session of 1 user" in one.manager.started()
    assert json.loads(theirs.recv(4096)) == {"version": 1, "order": "report"}


def test_what_was_told_to_end_is_told_again_and_ends(managed):
    one = managed()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # It hears nothing and is no child of the service's.
    deaf = subprocess.Popen(["sleep", "1000"])
    try:
        os.kill(deaf.pid, signal.SIGSTOP)
        one.manager.keep(f"session-{ID}", ours.fileno(), os.pidfd_open(deaf.pid), sealed(facts(ID, deaf.pid)),
                         sealed(end_order(ID, seconds=0.2)))
        assert "Serving 1 session of 1 user" in one.manager.started()
        assert json.loads(theirs.recv(4096)) == {"version": 1, "order": "report"}
        assert json.loads(theirs.recv(4096)) == {"version": 1, "order": "terminate", "reason": "ended by uid 7"}
        one.holds()
        assert deaf.wait(PATIENCE) == -signal.SIGKILL
    finally:
        deaf.kill()
        deaf.wait()
    closed, = one.events("session_closed")
    assert closed["session_id"] == ID and "did not end its programs" in closed["reason"]


def test_a_supervisor_that_floods_is_ended(managed):
    one = managed()
    one.manager.started()
    flooding, other = one.session(), one.session(BOB)
    counters = json.dumps({"version": 1, "report": "counters", "allowed": 0, "denied": 0, "audited": 0, "lost": 0})
    with pytest.raises(OSError):
        for _ in range(20000):
            flooding.send(counters.encode())
    one.holds(other)
    assert "flooded" in one.events("session_closed")[-1]["reason"]


def test_a_message_to_the_store_is_lost(managed):
    """The session goes on without the service, and costs nobody else anything."""
    one = managed()
    one.manager.started()
    one.manager.loses = True
    peer = one.session()
    one.manager.loses = False
    kept = one.session(BOB)
    one.manager.kill()
    assert "Serving 1 session of 1 user" in one.manager.started()
    is_told(kept, "report")
    os.kill(peer.supervisor, 0)
    one.session(ALICE)


def test_no_more_sessions_than_the_store_holds(managed):
    one = managed(environment={"FDSTORE": "11"})
    one.manager.started()
    first, second = one.session(ALICE), one.session(BOB)
    _, refusal = one.open(BOB)
    assert refusal["code"] == "limit" and "FileDescriptorStoreMax" in refusal["message"], refusal
    first.close()
    one.holds(second)
    # Its place is free when its process has gone, a moment later.
    while (answer := one.open(BOB)[1]).get("code") == "limit":
        pass
    assert "config" in answer


def test_without_a_manager_there_is_no_store(make_service):
    service = make_service(prefix=["env", "-u", "NOTIFY_SOCKET"])
    service.launch()
    with service.peer(ALICE) as alice:
        assert "config" in alice.ask()


def test_two_services_at_once(managed):
    one = managed()
    one.manager.started()
    peer = one.session()
    before = one.manager.stored()
    second = Manager(one.root / "control2", one.root / "notify2", one.command, one.root / "log2")
    second.keep("something", 0)
    second.start()
    assert second.wait_for_end() == 1
    assert f"another wrapd (process {one.manager.pid}) serves already" in (one.root / "log2").read_text()
    assert second.stored() == ["something"], "it must touch nothing"
    second.close()
    assert one.manager.stored() == before
    one.session(BOB)
    # The lock does not outlive its holder.
    one.manager.kill()
    one.manager.started()
    is_told(peer, "report")


def test_a_broken_configuration_costs_nobody_a_session(managed):
    one = managed()
    one.manager.started()
    peer = one.session()
    one.config.write_text("version: 1\nsurprise: 1\n")
    one.manager.kill()
    assert "Serving 1 session" in one.manager.started()
    is_told(peer, "report")
    _, refusal = one.open(BOB)
    assert refusal["code"] == "internal" and "configuration is broken" in refusal["message"]
    one.config.write_text(CONFIG.replace("{}", "64"))
    os.kill(one.manager.pid, signal.SIGHUP)
    one.manager.wait_for("READY")
    one.session(BOB)


def test_reports_that_are_no_reports_end_the_session(managed):
    one = managed()
    one.manager.started()
    lies = {"counters that went back": [{"report": "counters", "allowed": 1, "denied": 1, "audited": 0, "lost": 0},
                                        {"report": "counters", "allowed": 1, "denied": 0, "audited": 0, "lost": 0}],
            "out of order": [{"report": "state", "state": "ready"}],
            "more than 16 questions": [question(number) for number in range(17)],
            "a question twice": [question(1), question(1)],
            "may not": [{"report": "identity", "uid": 0}]}
    for words, reports in lies.items():
        peer = one.session()
        for report in reports:
            peer.send(json.dumps({"version": 1, **report}).encode())
        assert peer.receive() is None
        one.holds()
        assert words in one.events("session_closed")[-1]["reason"]


def question(number):
    call = {"operation": "connect", "target": "/x", "second": "", "abstract": False, "rule": "r", "policy": "default", "pid": 1,
            "comm": "c", "exe": "/e"}
    return {"report": "question", "question": number, "call": call, "guidance": "", "timeout_ms": 60000}


# ---- idle exit


def test_idle_exit(managed):
    one = managed(options=["--idle-exit=1"])
    one.manager.started()
    peer = one.session()
    # A session keeps it, however long: the one that does not come here is the end.
    peer.close()
    assert "the service is idle" in one.manager.wait_for("STOPPING")["STATUS"]
    assert one.manager.wait_for_end() == 75
    assert one.manager.stored() == []


def test_whoever_comes_at_the_last_moment_is_served_by_the_next(managed):
    """Connected when it has said that it stops: the manager has the next one started by what lies in the queue."""
    one = managed(options=["--idle-exit=1"])
    one.manager.started()
    one.manager.wait_for("STOPPING")
    peer = Peer(one.root / "control", ALICE)
    one.peers.append(peer)
    peer.send(json.dumps({"version": 1, "request": "open", "command": "RUN", "cwd": "/"}).encode())
    assert one.manager.wait_for_end() == 75
    one.manager.started()
    assert "config" in peer.receive()


# ---- the real supervisor and client


@pytest.mark.skipif(not (WRAP and SUPERVISOR), reason="WRAPD_TEST_WRAP, WRAPD_TEST_SUPERVISOR name no programs")
def test_no_command_fails_while_the_service_is_killed_again_and_again(managed):
    one = managed(supervisor=SUPERVISOR)
    one.manager.started()
    failures, done = [], threading.Event()

    def run():
        for _ in range(25):
            result = subprocess.run([WRAP, f"--control={one.root / 'control'}", "--", "true"], user=ALICE, group=ALICE,
                                    extra_groups=[], cwd="/", capture_output=True, text=True, timeout=60, check=False)
            if result.returncode != 0:
                failures.append(result.stderr)

    clients = [threading.Thread(target=run) for _ in range(2)]
    for client in clients:
        client.start()
    restarts = 0
    while any(client.is_alive() for client in clients):
        for _ in range(3):
            one.manager.wait_for("FDSTORE")
        one.manager.kill()
        one.manager.started()
        restarts += 1
        if restarts == 15:
            break
    for client in clients:
        client.join(120)
    assert failures == [], one.text()
    assert restarts >= 10
    one.holds()
