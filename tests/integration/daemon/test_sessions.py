# SPDX-License-Identifier: Apache-2.0
"""Whole sessions: the real wrap, wrapd and wrap-supervisor."""

import os
import socket
import struct
import subprocess
import sys
import threading

import pytest

from lib.daemon import SUPERVISOR
from lib.peers import PATIENCE, Peer
from lib.users import ALICE, BOB

WRAP = os.environ.get("WRAPD_TEST_WRAP", "")
KINDS = {"notify": 1, "signal": 2, "ptrace": 3}
pytestmark = pytest.mark.skipif(not (WRAP and SUPERVISOR), reason="WRAPD_TEST_WRAP, WRAPD_TEST_SUPERVISOR name no programs")

POLICY = """version: 1
name: default
sandbox:
  seccomp: {{enabled: true, mode: enforce}}
unix_socket_rules:
  - {{name: mine, paths: ["{allowed}"], operations: [connect], decision: allow}}
"""

CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
    print(s.recv(100).decode())
except OSError as e:
    print(e.errno)
"""


@pytest.fixture
def real(make_service):
    service = make_service(supervisor=SUPERVISOR)
    service.write_policy("default", text=POLICY.format(allowed=service.root / "allowed.sock"))
    return service.start()


def wrap(service, *command, uid=ALICE):
    return subprocess.run([WRAP, f"--control={service.control}", "--policy=default", "--", *command], user=uid, group=uid,
                          extra_groups=[], cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def listeners(real):
    """Two servers that anybody may connect to and that tell each client its uid."""
    sockets = []
    for name in ("allowed", "other"):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(real.root / f"{name}.sock"))
        os.chmod(real.root / f"{name}.sock", 0o666)
        server.listen()

        def serve(server=server):
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                    client.send(f"uid {uid}".encode())

        threading.Thread(target=serve, daemon=True).start()
        sockets.append(server)
    yield real
    for server in sockets:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("uid", [ALICE, BOB])
def test_a_command_runs_under_the_policy(listeners, uid):
    result = wrap(listeners, "sh", "-c", "echo hello; exit 7", uid=uid)
    assert (result.stdout, result.returncode) == ("hello\n", 7), result.stderr + listeners.text()
    result = wrap(listeners, sys.executable, "-c", CONNECT, str(listeners.root / "allowed.sock"), uid=uid)
    assert result.stdout == f"uid {uid}\n", result.stderr + listeners.text()
    result = wrap(listeners, sys.executable, "-c", CONNECT, str(listeners.root / "other.sock"), uid=uid)
    assert result.stdout == "13\n", result.stderr + listeners.text()
    # The ends are the supervisors' own to record; the sockets were taken away at the hand-off.
    assert len(listeners.wait_for_event("session_closed", 3)) == 3
    assert all(event["uid"] == uid and "died" not in event.get("reason", "") for event in listeners.events("session_closed"))
    listeners.wait_for_no_sessions()


def test_a_confined_command_gets_no_second_session(real):
    # The leak checker of an instrumented build looks for leaks with calls that a wrapped program may not make.
    result = wrap(real, "env", "ASAN_OPTIONS=detect_leaks=0", WRAP, f"--control={real.control}", "--", "true")
    assert result.returncode == 125, result.stderr
    assert subprocess.run([WRAP, f"--control={real.control}", "--", "true"], user=ALICE, group=ALICE, extra_groups=[],
                          cwd="/", timeout=PATIENCE, check=False).returncode == 0
    result = subprocess.run(["setpriv", "--no-new-privs", WRAP, f"--control={real.control}", "--", "true"],
                            capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert result.returncode == 125 and "--standalone" in result.stderr


def frame(kind, token):
    return b"WRPH" + bytes([1, KINDS[kind], 0, 0]) + token.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_uid_then_right_uid_where_everybody_may_connect(make_service, kind):
    """Without CAP_CHOWN and with the fallback, the peer's uid and the token decide alone."""
    service = make_service(supervisor=SUPERVISOR, prefix=["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"])
    service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                              "handoff: {permissive_fallback: true}\n")
    service.start()
    with service.peer(ALICE) as alice:
        reply = alice.ask()
        assert reply["reply"] == "session", (reply, service.text())
        path = f"{reply['directory']}/{kind}.sock"
        token = reply["tokens"][kind]
        with Peer(path, BOB) as bob:
            # Knows the token, and is still nobody.
            try:
                bob.send(frame(kind, token), [bob.socket.fileno()])
                assert bob.socket.recv(10) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass
        event, = service.wait_for_event("peer_rejected")
        assert event["peer_uid"] == BOB
        with Peer(path, ALICE) as again:
            again.send(frame(kind, "0" * 64), [again.socket.fileno()])
            assert again.socket.recv(10) == b"T"


def test_a_session_survives_the_services_restart(real):
    reading, writing = os.pipe()
    out, told = os.pipe()
    process = subprocess.Popen([WRAP, f"--control={real.control}", "--policy=default", "--", "sh", "-c",
                                "echo started; read line; echo got $line"], stdin=reading, stdout=told, user=ALICE,
                               group=ALICE, extra_groups=[], cwd="/")
    os.close(reading)
    os.close(told)
    with os.fdopen(out) as lines:
        assert lines.readline() == "started\n", real.text()
        real.process.kill()
        real.process.wait(PATIENCE)
        os.write(writing, b"word\n")
        os.close(writing)
        assert lines.readline() == "got word\n"
    assert process.wait(PATIENCE) == 0
    assert len(real.wait_for_event("session_closed")) == 1


def test_what_a_session_costs_is_bounded_in_descriptors(real):
    """Fifty sessions leave the service with as many descriptors as one."""
    def count():
        return len(os.listdir(f"/proc/{real.process.pid}/fd"))

    assert wrap(real, "true").returncode == 0
    real.wait_for_event("session_closed", 1)
    before = count()
    for _ in range(50):
        assert wrap(real, "true").returncode == 0
    real.wait_for_event("session_closed", 51)
    real.wait_for_no_sessions()
    # The last supervisor has recorded its end; its process is reaped a moment later.
    assert count() <= before + 2


def test_the_units_capabilities_suffice(make_service):
    """Sessions open and decide with exactly the bounding set of the unit, and with no_new_privs."""
    with open(os.environ["WRAPD_TEST_UNIT"], encoding="utf-8") as unit:
        names = next(line.split("=", 1)[1].split() for line in unit if line.startswith("CapabilityBoundingSet="))
    bounding = ",".join(["-all", *(name.removeprefix("CAP_").lower().join(["+", ""]) for name in names)])
    service = make_service(supervisor=SUPERVISOR,
                           prefix=["setpriv", "--no-new-privs", f"--bounding-set={bounding}", "--inh-caps=-all"])
    service.write_policy("default", text=POLICY.format(allowed="${HOME}/x.sock"))
    service.start()
    result = wrap(service, sys.executable, "-c", CONNECT, str(service.root / "notify"))
    assert (result.stdout, result.returncode) == ("13\n", 0), result.stderr + service.text()
    event, = service.wait_for_event("session_closed")
    assert event["denied"] == 1


def test_the_unit_asks_for_no_more_than_it_says():
    """systemd itself finds nothing to complain about, and rates the hardening."""
    unit = os.environ["WRAPD_TEST_UNIT"]
    # It leaves a file in /run/systemd.
    own_run = ["unshare", "--mount", "sh", "-ec", 'mount -n -t tmpfs none /run; exec "$@"', "sh"]
    rating = subprocess.run([*own_run, "systemd-analyze", "security", "--offline=true", "--threshold=30", unit],
                            capture_output=True, text=True, timeout=60, check=False)
    assert rating.returncode == 0, rating.stdout
    assert "Unknown" not in rating.stderr, rating.stderr
