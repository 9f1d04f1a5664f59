# SPDX-License-Identifier: Apache-2.0
"""Connections to the control socket that nobody wants to close last: files of a FUSE server with a writeback cache lie
unread in them, and their last close(2) waits for the server in a sleep that no signal ends."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lib.daemon import KEEPER, PROBE
from lib.peers import PATIENCE, Peer
from lib.processes import SO_PASSRIGHTS, status_of, stop, without_option
from lib.sessions import opens_promptly, wrap
from lib.users import ALICE, MALLORY

FUSE_WB = os.environ.get("WRAPD_TEST_FUSE_WB", "")
FILES = 6  # the kernel makes some of them wait for their own server instead
PROMPT = 5.0  # seconds in which a service that hangs for nobody ends on a busy machine
WITHOUT = without_option(SO_PASSRIGHTS)
# Anybody may open /dev/fuse where udev runs.
AS_MALLORY = ('mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount -n --bind "$1/fuse" /dev/fuse && shift && '
              'exec setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"')
LOW = 256  # descriptors that the service and a keeper may have
FLOOD = """
import os, socket, sys
control, count, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
peers = []
for _ in range(count):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(control)
    peer.send(b"")
    for _ in range(3):
        peer.send(b"{}")
    if how == "descriptors":
        socket.send_fds(peer, [b""], [0])
    peers.append(peer)
print("sent", flush=True)
sys.stdin.read()
"""
pytestmark = pytest.mark.skipif(not FUSE_WB or not os.path.exists("/dev/fuse"), reason="needs fuse_wb and /dev/fuse")


@pytest.fixture(scope="module")
def refuses_rights():
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.getsockopt(socket.SOL_SOCKET, 83)
        except OSError:
            pytest.skip("needs SO_PASSRIGHTS (Linux 6.16)")


class Attack:
    """fuse_wb, each with a file server of its own; the servers end when the attack is over."""

    def __init__(self, control, directory, files):
        reading, writing = os.pipe()
        self.processes = [subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", AS_MALLORY, "bash", self.place(directory, i), str(MALLORY), FUSE_WB,
             control, "1", "600"], stderr=writing, start_new_session=True) for i in range(files)]
        os.close(writing)
        self.output = reading
        self.said = ""

    @staticmethod
    def place(directory, i):
        (directory / str(i)).mkdir()
        return directory / str(i)

    def until(self, text, count=1):
        """Whether they say so that often."""
        deadline = time.monotonic() + PATIENCE
        while self.said.count(text) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.output], [], [], left)[0]:
                return False
            said = os.read(self.output, 65536)
            if not said:
                return False
            self.said += said.decode()
        return True

    def goes_on(self):
        return all(process.poll() is None for process in self.processes)

    def end(self):
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # their servers too: who waits gets an error
        for process in self.processes:
            process.wait(PATIENCE)
        os.close(self.output)


@contextmanager
def attacking(service, tmp_path, files=FILES):
    tmp_path.mkdir(exist_ok=True)
    attack = Attack(service.control, tmp_path, files)
    try:
        yield attack
    finally:
        attack.end()


def keepers():
    """Those of this build, zombies too; another run on this machine may have its own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or (entry / "comm").read_text() != "wrapd-keeper\n":
                continue
            if status_of(entry.name)["State"].startswith("Z") or (entry / "exe").samefile(KEEPER):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def keepers_of(service):
    """Zombies are some, too."""
    found = []
    for pid in keepers():
        with suppress(OSError):
            if int(status_of(pid)["PPid"]) == service.process.pid:
                found.append(pid)
    return found


@pytest.fixture(scope="module")
def keepers_end():
    """Names of tests by the keepers that they made. All have to be gone in the end: a keeper waits some seconds for another
    service before it goes, so the tests do not wait for that each by itself."""
    made = {}
    yield made
    deadline = time.monotonic() + PATIENCE
    while left := {pid: made[pid] for pid in keepers() if pid in made}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)  # they are children of nobody here: there is nothing to wait for


@pytest.fixture
def no_keeper_stays(keepers_end, request):
    before = keepers()
    yield
    keepers_end.update({pid: request.node.name for pid in keepers() if pid not in before})


def ends_promptly(service, how):
    began = time.monotonic()
    service.process.send_signal(how)
    service.process.wait(PATIENCE)
    assert time.monotonic() - began < PROMPT
    service.log.unlink()  # where the next start says that it listens
    return True


def test_the_control_socket_takes_no_descriptors(service, refuses_rights, tmp_path):
    service.start()
    with attacking(service, tmp_path) as attack:
        # It hangs in its own end, in which it closes its own file.
        assert attack.until("sendmsg: Operation not permitted"), attack.said
        assert " sent" not in attack.said
    with service.peer(MALLORY) as peer, open("/dev/null", encoding="ascii") as null:
        with pytest.raises(PermissionError):
            peer.send(b"{}", [null.fileno()])
    assert opens_promptly(service)


def attack_and_restart(service, attack):
    assert opens_promptly(service)
    for how in (signal.SIGTERM, signal.SIGKILL):
        assert ends_promptly(service, how)
        service.start()
        assert opens_promptly(service)
    # It is their user's connections that are still being closed; the others are not told from before.
    assert attack.goes_on(), attack.said


def test_who_connects_before_the_first_start(no_keeper_stays, make_service, refuses_rights, tmp_path):
    """Nobody has told the control socket yet. What waits there is closed by nobody whom others wait for."""
    service = make_service()
    service.launch()
    service.process.send_signal(signal.SIGSTOP)
    with attacking(service, tmp_path) as attack:
        assert attack.until(" sent"), attack.said
        service.process.send_signal(signal.SIGCONT)
        service.wait_for_notification("READY=1")
        service.wait_for_event("peer_rejected")
        attack_and_restart(service, attack)


@pytest.mark.parametrize("when", ["while it serves", "while it stands still", "above the limit"])
def test_on_a_kernel_that_cannot_refuse_them(no_keeper_stays, make_service, tmp_path, when):
    service = make_service(prefix=WITHOUT)
    if when == "above the limit":
        service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                                  "limits: {pending_per_user: 1}\n")
        service.config.chmod(0o644)
    service.start()
    assert opens_promptly(service)
    if when == "while it stands still":
        service.process.send_signal(signal.SIGSTOP)
    with attacking(service, tmp_path) as attack:
        assert attack.until(" sent"), attack.said
        if when == "while it stands still":
            service.process.send_signal(signal.SIGKILL)
            service.process.send_signal(signal.SIGCONT)
            assert ends_promptly(service, signal.SIGKILL)
            service.start()
        attack_and_restart(service, attack)
    # Closed at last: a user is not locked out for having been slow.
    deadline = time.monotonic() + PATIENCE
    while (result := wrap(service, "true", uid=MALLORY)).returncode != 0:
        assert time.monotonic() < deadline, result


def test_who_dies_while_connections_wait_leaves_them_to_nobody(no_keeper_stays, make_service, tmp_path):
    """Connections that have not been read are held by a keeper, too: their peers hear of the service's end at once."""
    service = make_service(prefix=WITHOUT)
    service.start()
    assert opens_promptly(service)
    peers = [Peer(service.control, MALLORY) for _ in range(3)]
    assert opens_promptly(service)  # by when it has accepted those
    assert ends_promptly(service, signal.SIGKILL)
    for peer in peers:
        assert peer.receive() is None
        peer.close()


def test_a_keeper_that_dies_is_replaced(no_keeper_stays, make_service):
    service = make_service(prefix=WITHOUT)
    before = keepers()
    service.start()
    for _ in range(3):
        assert opens_promptly(service)
        with service.peer(MALLORY) as waiting:
            assert opens_promptly(service)  # by when that is held
            keeper, = [pid for pid in keepers() if pid not in before]
            os.kill(keeper, signal.SIGKILL)
            service.wait_for_log("another one takes its place")
            assert opens_promptly(service)
            waiting.send(b"{}")
            assert waiting.receive()["code"] == "bad-request"
        service.log.write_text("")


def test_a_session_outlives_the_service_and_its_keeper(no_keeper_stays, make_service):
    """Also where the service dies before the keeper has heard that the connection is a supervisor's now."""
    before = keepers()
    service = make_service(supervisor=PROBE, prefix=WITHOUT).start()
    keeper, = [pid for pid in keepers() if pid not in before]
    os.kill(keeper, signal.SIGSTOP)
    with service.peer(ALICE) as alice:
        assert alice.ask(command="RUN")["config"]
        service.wait_for_no_sessions()  # running: its supervisor has told the service all that it has to tell
        assert ends_promptly(service, signal.SIGKILL)
        os.kill(keeper, signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while keeper in keepers():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        alice.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            alice.socket.recv(65536)


@contextmanager
def flooded(service, count, how):
    """Mallory's connections are there before the service sees one of them."""
    stop(service.process.pid)
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, service.control, str(count), how], user=MALLORY, group=MALLORY,
                             extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert flood.stdout.readline() == "sent\n"
        service.process.send_signal(signal.SIGCONT)
        yield
    finally:
        flood.communicate(timeout=PATIENCE)


@pytest.fixture
def short_of_descriptors(no_keeper_stays, make_service):
    service = make_service(prefix=["prlimit", f"--nofile={LOW}:{LOW}", *WITHOUT])
    service.start()
    return service


def test_what_a_keeper_has_no_descriptor_for_goes_to_the_next(short_of_descriptors, tmp_path):
    """The service closes nothing that it alone has, however many connections cannot be closed."""
    service = short_of_descriptors
    assert opens_promptly(service)
    with attacking(service, tmp_path / "first") as first:
        assert first.until(" sent"), first.said
        assert opens_promptly(service)
        with flooded(service, 2 * LOW, "descriptors"), attacking(service, tmp_path / "second") as second:
            assert second.until(" sent"), second.said
            service.wait_for_log("their keeper is left behind")
            assert opens_promptly(service)
            assert "has died" not in service.text()
            assert ends_promptly(service, signal.SIGTERM)
            service.start()
            assert opens_promptly(service)


def test_a_keeper_keeps_nothing_that_can_be_closed_at_once(short_of_descriptors, tmp_path):
    """Where a user has one connection that cannot be closed, the user's others do not fill keepers behind it."""
    service = short_of_descriptors
    with attacking(service, tmp_path / "first") as attack:
        assert attack.until(" sent"), attack.said
        assert opens_promptly(service)
        for _ in range(3):
            with flooded(service, LOW, "messages"):
                assert opens_promptly(service)
        assert "left behind" not in service.text()
        assert attack.goes_on(), attack.said


def test_what_lies_unread_is_found_behind_other_messages(short_of_descriptors, tmp_path):
    """Nothing is closed at once that has a descriptor unread: each of these stays until the first can be closed."""
    service = short_of_descriptors
    keeper, = keepers_of(service)
    with attacking(service, tmp_path / "first") as attack:
        assert attack.until(" sent"), attack.said
        assert opens_promptly(service)
        with flooded(service, 100, "descriptors"):
            assert opens_promptly(service)
            end = time.monotonic() + PATIENCE
            while len(os.listdir(f"/proc/{keeper}/fd")) <= 100:
                assert time.monotonic() < end, "the keeper closed what it was to hold"
                time.sleep(0.01)


HOARD = """
import errno, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sent = 0
for _ in range(300):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.connect(sys.argv[1])
        try:
            socket.send_fds(peer, [b"x"], [0])
            sent += 1
        except OSError as error:
            assert error.errno == errno.ETOOMANYREFS, error
print(sent)
"""


def test_a_user_has_as_many_descriptors_in_flight_as_the_limit_allows(short_of_descriptors):
    """So many connections of a user's can keepers be left with, also where their other ends are closed."""
    service = short_of_descriptors
    stop(service.process.pid)
    hoard = subprocess.run([sys.executable, "-c", HOARD, service.control], user=MALLORY, group=MALLORY, extra_groups=[],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    service.process.send_signal(signal.SIGCONT)
    assert hoard.returncode == 0, hoard.stderr
    assert 0 < int(hoard.stdout) <= 64 + 1
    assert opens_promptly(service)


def test_a_keeper_that_is_let_go_is_reaped(no_keeper_stays, make_service, refuses_rights):
    """It leaves no zombie for the life of the service. One is needed at the first start only."""
    service = make_service().start()
    assert len(keepers_of(service)) == 1
    deadline = time.monotonic() + PATIENCE
    while keepers_of(service):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # nothing tells of the end of a process that is not ours
    assert opens_promptly(service)
