# SPDX-License-Identifier: Apache-2.0
"""Attacks on the service, on the hand-off, on a supervisor and on wrap: by another user, by the same user, and by the
wrapped program. Alice wants her sessions; Mallory does not want her to have them."""

import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lib.daemon import SUPERVISOR
from lib.peers import PATIENCE, Peer, request
from lib.processes import SO_PASSRIGHTS, SO_PEERPIDFD, fork_as, in_child, next_tick, status_of, stop, without_option
from lib.sessions import WRAP, opens_promptly, session, start_wrap, supervisors, wrap
from lib.users import ALICE, MALLORY

LINGER = 3600  # seconds
PROMPT = 5.0   # seconds in which a session opens on a machine that is busy with an attack
pytestmark = pytest.mark.skipif(not WRAP, reason="WRAPD_TEST_WRAP names no program")


# ---- descriptors that do not want to be closed


def unwilling():
    """A TCP socket whose last close(2) waits for its peer, for an hour; and who must live so that it does."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    client = socket.socket()
    client.connect(server.getsockname())
    peer, _ = server.accept()
    client.setblocking(False)
    try:
        while True:
            client.send(b"x" * 65536)
    except BlockingIOError:
        pass
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    return client, (server, peer)


def test_an_unwilling_descriptor_is_one():
    """What the next test rests on: whoever closes it last stands still. Here until a signal comes."""
    client, keep = unwilling()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    os.close(client.detach())
    took = time.monotonic() - began
    signal.signal(signal.SIGALRM, before)
    assert took > 0.25
    for one in keep:
        one.close()


@pytest.fixture
def takes_descriptors(make_service):
    """A service on a kernel whose sockets cannot refuse descriptors; not started yet."""
    prefix = without_option(SO_PASSRIGHTS)
    return make_service(supervisor=SUPERVISOR, prefix=prefix)


def profile_channel(peer):
    """That the supervisor gives for it."""
    peer.socket.settimeout(PATIENCE)
    text, channels, _, _ = socket.recv_fds(peer.socket, 65536, 1)
    assert json.loads(text)["reply"] == "profile", text
    return socket.socket(fileno=channels[0])


@pytest.mark.parametrize("how", ["with the request", "as a profile", "unasked", "without a request", "unread", "two", "253",
                                 "too long", "not waited for", "above the limit", "empty", "behind an empty one",
                                 "refused, behind an empty one", "above the limit, behind an empty one"])
def test_nobody_waits_for_a_descriptor(takes_descriptors, how):
    """The service's is the last copy: what it closes itself, it would close for an hour, and serve nobody meanwhile."""
    service = takes_descriptors
    if how.startswith("above the limit"):
        service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                                  "limits: {pending_per_user: 1}\n")
        service.config.chmod(0o644)
    service.start()
    if how.startswith("above the limit"):
        silent = service.peer(MALLORY)
        assert silent.errno is None
    client, keep = unwilling()
    # Whoever gets them gets them when ours is closed: else it may be us who closes last.
    stopped = service.process.pid
    stop(stopped)
    mallory = service.peer(MALLORY)
    if how == "unread":
        mallory.send(b"{}")
        mallory.send(b"x", [client.fileno()])
    elif how == "empty":
        mallory.send(b"", [client.fileno()])
    elif how.endswith("behind an empty one"):
        if how.startswith("refused"):
            mallory.send(b"{}")
        mallory.send(b"")
        mallory.send(b"x", [client.fileno()])
    elif how in ("as a profile", "two", "253"):
        mallory.send(request(profile=True))
        service.process.send_signal(signal.SIGCONT)
        with profile_channel(mallory) as channel:
            stopped, = [pid for pid, uid in supervisors(service).items() if uid == MALLORY]
            stop(stopped)
            socket.send_fds(channel, [b"p"], [client.fileno()] * {"as a profile": 1, "two": 2, "253": 253}[how])
    elif how == "with the request":
        mallory.send(request(profile=True), [client.fileno()])
    elif how == "too long":
        mallory.send(b"x" * 20000, [client.fileno()])
    elif how == "without a request":
        mallory.send(b"{}", [client.fileno()])
    else:
        mallory.send(request(profile=True))
        mallory.send(b"p", [client.fileno()])
    client.close()
    if how == "not waited for":
        mallory.close()
    os.kill(stopped, signal.SIGCONT)
    assert opens_promptly(service)
    if how == "behind an empty one":
        assert mallory.receive() is None
    elif how != "not waited for":
        answer = mallory.receive()
        if answer.get("reply") == "profile":
            answer = mallory.receive()
        assert answer["code"] in ("bad-request", "limit")
    for one in keep:
        one.close()


def test_nobody_holds_up_the_end_of_the_service(takes_descriptors):
    service = takes_descriptors.start()
    mallory = service.peer(MALLORY)
    assert opens_promptly(service)  # by when it has accepted
    client, keep = unwilling()
    stop(service.process.pid)
    service.process.terminate()
    mallory.send(b"x", [client.fileno()])
    client.close()
    service.process.send_signal(signal.SIGCONT)
    assert service.process.wait(PATIENCE) == 0
    for one in keep:
        one.close()


def test_unwilling_descriptors_count_against_their_user(takes_descriptors):
    """Who leaves too many is refused; others are not, and neither is their user once they are closed."""
    service = takes_descriptors.start()
    kept = []
    answers = set()
    for _ in range(40):
        client, keep = unwilling()
        kept.extend(keep)
        stop(service.process.pid)
        with Peer(service.control, MALLORY) as mallory:
            mallory.send(b"{}", [client.fileno()])
            client.close()
            service.process.send_signal(signal.SIGCONT)
            answers.add(mallory.receive()["code"])
    assert answers == {"bad-request", "limit"}
    assert opens_promptly(service)
    assert wrap(service, "true", uid=MALLORY).returncode == 125
    for one in kept:
        one.close()
    deadline = time.monotonic() + PATIENCE
    while wrap(service, "true", uid=MALLORY).returncode != 0:
        assert time.monotonic() < deadline


@pytest.fixture
def stalling():
    """A file on a file system that holds up wrapd and its supervisors when they close it or bind a socket beside it, and
    the server's output."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    above = Path(tempfile.mkdtemp(prefix="wrapd-stalling-"))
    above.chmod(0o755)
    directory = above / "fs"
    directory.mkdir()
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("stalling_fs.py"), directory], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == "ready\n"
        yield directory / "file", server.stdout
    finally:
        server.stdin.close()
        assert server.wait(PATIENCE) == 0
        server.stdout.close()
        directory.rmdir()
        above.rmdir()


@pytest.mark.parametrize("how", ["with the request", "as a profile", "unread"])
def test_a_file_system_that_stalls_holds_up_its_user_alone(takes_descriptors, stalling, how):
    """Who closes a file of a FUSE server waits for the server in a sleep that SIGKILL does not end. A service that did
    would serve nobody, keep its lock, and could not be restarted."""
    path, server = stalling
    service = takes_descriptors.start()
    with service.peer(MALLORY) as mallory:
        fd = os.open(path, os.O_RDONLY)
        if how == "with the request":
            mallory.send(request(profile=True), [fd])
            assert mallory.receive()["code"] == "bad-request"
        else:
            mallory.send(request(profile=how == "as a profile"))
        if how == "unread":
            mallory.send(b"p", [fd])
        if how == "as a profile":
            with profile_channel(mallory) as channel:
                socket.send_fds(channel, [b"p"], [fd])
            assert server.readline() == "stalls wrap-supervisor\n"
        os.close(fd)
        assert opens_promptly(service)
        service.process.terminate()
        service.process.wait(PATIENCE)
        service.log.unlink()  # where the next start says that it listens
        service.start()
        assert opens_promptly(service)
    assert not select.select([server], [], [], 0)[0], server.readline()


BINDS_AND_ASKS = """
import os, socket, sys, threading
def bind():
    try:
        socket.socket(socket.AF_UNIX).bind(sys.argv[1])
    except OSError:
        pass
threading.Thread(target=bind, daemon=True).start()
print("binds", flush=True)
sys.stdin.readline()
print(socket.socket(socket.AF_UNIX).connect_ex("/nowhere"), flush=True)
os._exit(0)
"""
BIND_ANYWHERE = """version: 1
name: default
sandbox:
  seccomp: {enabled: true, mode: enforce}
unix_socket_rules:
  - {name: any, paths: ["/**"], operations: [connect, bind], decision: allow}
"""


@pytest.mark.parametrize("wrap_is", ["stopped", "running"])
def test_a_bind_that_hangs_outlives_no_supervisor(service, stalling, wrap_is):
    """The process that binds cannot be killed while a file server does not answer it. It must not keep what a dead
    supervisor had: the listener, or trapped calls would wait for it, and the channels, or nobody would see its end."""
    path, server = stalling
    service.write_policy("default", text=BIND_ANYWHERE)
    service.start()
    with session(service, sys.executable, "-c", BINDS_AND_ASKS, path.with_name("s"),
                 stdin=subprocess.PIPE) as (process, supervisor, _):
        assert server.readline() == "stalls wrap-supervisor\n"
        if wrap_is == "stopped":
            process.send_signal(signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)
        if wrap_is == "stopped":
            process.stdin.write("\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], PATIENCE)[0]
            assert int(process.stdout.readline()) == errno.ENOSYS
            process.send_signal(signal.SIGCONT)
        process.wait(PATIENCE)


def children_of(pid):
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and int(status_of(entry.name)["PPid"]) == pid:
                found.append(int(entry.name))
    return found


def test_a_bind_ends_with_its_supervisor_where_it_can(service, stalling):
    """A request that the file server has not taken yet is given up when whoever made it is killed."""
    path, _ = stalling
    service.write_policy("default", text=BIND_ANYWHERE)
    service.start()
    with session(service, sys.executable, "-c", BINDS_AND_ASKS, path.with_name("unread"),
                 stdin=subprocess.PIPE) as (process, supervisor, _):
        deadline = time.monotonic() + PATIENCE
        while not (binds := children_of(supervisor)):
            assert time.monotonic() < deadline
        pidfd = os.pidfd_open(binds[0])
        try:
            os.kill(supervisor, signal.SIGKILL)
            assert select.select([pidfd], [], [], PATIENCE)[0]
        finally:
            os.close(pidfd)
        process.wait(PATIENCE)


# ---- numbers of processes that have gone


@pytest.mark.parametrize("kernel", ["this kernel", "before 6.5"])
def test_a_connection_outlives_its_maker_and_not_its_number(make_service, kernel):
    """Somebody (here root's test, else a confined program) holds on to the connection of a process that has gone, until
    an unconfined process of the same user has its number: the session would be that process's."""
    prefix = without_option(SO_PEERPIDFD) if kernel == "before 6.5" else []
    service = make_service(supervisor=SUPERVISOR, prefix=prefix).start()
    with service.peer(ALICE) as alive:
        alive.send(request())
        assert alive.receive()["reply"] == "session"
    held = service.peer(ALICE)
    number = held.pid
    # Connections are accepted in order: when a later one has its session, this one is known.
    with service.peer(ALICE) as later:
        later.send(request())
        assert later.receive()["reply"] == "session"
    next_tick()
    held.leash.close()
    os.waitpid(number, 0)
    heir = fork_as(number)
    if heir == 0:
        os.setgroups([])
        os.setresgid(ALICE, ALICE, ALICE)
        os.setresuid(ALICE, ALICE, ALICE)
        signal.pause()
        os._exit(0)
    held.pid = 0
    try:
        while status_of(heir)["Uid"].split() != [str(ALICE)] * 4:
            pass
        with held:
            held.send(request())
            assert held.receive().get("code") == "confined"
    finally:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(heir, 0)


# ---- floods


@contextmanager
def flooding(uid, body):
    """Four processes of this uid that call body() until the end."""
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                os.closerange(3, 256)
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                while True:
                    try:
                        body()
                    except OSError:
                        pass
            finally:
                os._exit(1)
        pids.append(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def connect_to(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    return connection


@pytest.mark.parametrize("what", ["connect", "nonsense", "half", "open", "many plans"])
def test_a_flood_delays_nobody_for_long(service, what):
    service.start()
    kept = []

    def body():
        connection = connect_to(service.control)
        if what == "half":
            kept.append(connection)
            if len(kept) > 200:
                kept.clear()
            return
        with connection:
            if what == "nonsense":
                connection.send(b"{")
            elif what in ("open", "many plans"):
                connection.send(request(cwd="/" + (os.urandom(4).hex() if what == "many plans" else "")))
                connection.recv(65536)

    with flooding(MALLORY, body):
        for _ in range(5):
            assert opens_promptly(service)
    service.wait_for_no_sessions()


def frame(kind, token):
    return b"WRPH" + bytes([1, kind, 0, 0]) + token.encode()


@pytest.mark.parametrize("permissive", [False, True])
def test_a_stranger_cannot_keep_a_hand_off_busy(make_service, permissive):
    """Mallory was told everything but who she is not. Where the service may chown she does not even get in."""
    prefix = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"] if permissive else []
    service = make_service(prefix=prefix)
    service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                              "handoff: {permissive_fallback: true}\n")
    service.start()
    with service.peer(ALICE) as alice:
        reply = alice.ask()
        path = f"{reply['directory']}/signal.sock"
        token = reply["tokens"]["signal"]

        def body():
            with connect_to(path) as connection:
                connection.sendmsg([frame(2, token)],
                                   [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", connection.fileno()))])

        with Peer(path, MALLORY) as mallory:
            assert (mallory.errno is None) == permissive
        with flooding(MALLORY, body):
            began = time.monotonic()
            for _ in range(5):
                with Peer(path, ALICE) as again:
                    again.send(frame(2, "0" * 64), [again.socket.fileno()])
                    assert again.socket.recv(10) == b"T"
            assert time.monotonic() - began < PROMPT


# ---- clients that die


@pytest.mark.parametrize("step", ["connected", "asked", "answered", "signal connected", "signal sent", "notify connected"])
def test_a_client_may_die_at_every_step(service, step):
    service.start()
    assert opens_promptly(service)
    service.wait_for_no_sessions()
    before = len(os.listdir(f"/proc/{service.process.pid}/fd"))
    peers = []
    for _ in range(10):
        peer = service.peer(ALICE)
        peers.append(peer)
        if step == "connected":
            continue
        peer.send(request())
        if step == "asked":
            peer.close()
            continue
        reply = peer.receive()
        if step == "answered":
            continue
        peers.append(Peer(f"{reply['directory']}/{step.split()[0]}.sock", ALICE))
        if step == "signal sent":
            peers[-1].send(frame(2, reply["tokens"]["signal"]), [os.pidfd_open(peer.pid)])
    pidfds = []
    for pid, uid in supervisors(service).items():
        with suppress(ProcessLookupError):  # gone already, as it should be
            if uid == ALICE:
                pidfds.append(os.pidfd_open(pid))
    for peer in peers:
        peer.close()
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], PATIENCE)[0], "a supervisor stays"
        os.close(pidfd)
    service.wait_for_no_sessions()
    assert opens_promptly(service)
    service.wait_for_no_sessions()
    # A leak would be ten; the search for a bus has a few of its own now and then.
    assert len(os.listdir(f"/proc/{service.process.pid}/fd")) < before + 8


def test_killed_with_its_wrap(service):
    """Where wrap is killed, its command goes, and then the session."""
    service.start()
    with session(service, "sh", "-c", "echo $$; exec sleep 1000") as (process, supervisor, pid):
        command, session_end = os.pidfd_open(int(pid)), os.pidfd_open(supervisor)
        process.kill()
        for pidfd in (command, session_end):
            assert select.select([pidfd], [], [], PATIENCE)[0]
            os.close(pidfd)


# ---- a supervisor that dies

GROWS = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None)
libc.prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: nobody's death is mine
def live():
    while "first thread ends" in sys.argv and ") Z " not in open(f"/proc/{os.getpid()}/stat").read(): os.sched_yield()
    print(os.getpid(), flush=True)
    time.sleep(1000)
if os.fork() == 0:
    if "own session" in sys.argv: os.setsid()
    if "not dumpable" in sys.argv: libc.prctl(4, 0, 0, 0, 0)
    if "first thread ends" in sys.argv:
        threading.Thread(target=live).start()
        libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)
    live()
if "not dumpable" in sys.argv: libc.prctl(4, 0, 0, 0, 0)
time.sleep(1000)
"""


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("how", ["plain", "own session", "not dumpable", "first thread ends"])
def test_the_tree_goes_with_its_supervisor(service, how, hidden):
    """Also what /proc shows as a zombie (its first thread has ended), and what a /proc with hidepid=2 does not show."""
    service.start()
    command = [sys.executable, "-c", GROWS, how]
    if hidden:
        if how == "first thread ends":
            pytest.skip("reads its own stat, which is the same either way")
        inside = 'mount -n -t proc -o hidepid=2 proc /proc; exec setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"'
        process = subprocess.Popen(["unshare", "--mount", "bash", "-ec", inside, "bash", str(ALICE), WRAP,
                                    f"--control={service.control}", "--", *command], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    else:
        process = start_wrap(service, *command)
    grandchild = os.pidfd_open(int(process.stdout.readline()))
    supervisor, = [pid for pid, uid in supervisors(service).items() if uid == ALICE]
    began = time.monotonic()
    os.kill(supervisor, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125 and "was killed with all" in err, err
    assert time.monotonic() - began < PROMPT
    assert select.select([grandchild], [], [], 0)[0], "it lives on"
    os.close(grandchild)


# ---- what the caller, and the command, can do to whom

REACH = r"""
import ctypes, errno, json, os, resource, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NR = {"x86_64": {"ptrace": 101, "process_vm_readv": 310, "ioprio_set": 251, "kcmp": 312, "migrate_pages": 256},
      "aarch64": {"ptrace": 117, "process_vm_readv": 270, "ioprio_set": 30, "kcmp": 272, "migrate_pages": 238}}[os.uname().machine]
NR.update(pidfd_getfd=438, pidfd_send_signal=424, process_madvise=440)
def call(name, *arguments):
    if libc.syscall(NR[name], *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def read_memory(pid):
    here = ctypes.create_string_buffer(1)
    local = ctypes.create_string_buffer(struct.pack("PL", ctypes.addressof(here), 1))
    remote = ctypes.create_string_buffer(struct.pack("PL", 1, 1))
    try:
        call("process_vm_readv", pid, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0))
    except OSError as refused:
        if refused.errno != errno.EFAULT:  # it looked, and there is nothing at that address
            raise
def reach(pid):
    pidfd = os.pidfd_open(pid)
    tries = {
        "kill": lambda: os.kill(pid, 0),
        "getfd": lambda: call("pidfd_getfd", pidfd, 3, 0),
        "seize": lambda: call("ptrace", 0x4206, pid, None, None),
        "vm": lambda: read_memory(pid),
        "kcmp": lambda: call("kcmp", pid, os.getpid(), 0, 0, 0),
        "ioprio": lambda: call("ioprio_set", 1, pid, 3 << 13),
        "migrate": lambda: call("migrate_pages", pid, 0, None, None),
        "renice": lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
        "affinity": lambda: os.sched_setaffinity(pid, {0}),
        "scheduler": lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
        "prlimit": lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1)),
        "list fd": lambda: os.listdir(f"/proc/{pid}/fd"),
        "list map_files": lambda: os.listdir(f"/proc/{pid}/map_files"),
    }
    for name in ("environ", "maps", "auxv", "syscall", "stack", "io", "fdinfo/0", "pagemap"):
        tries["read " + name] = lambda name=name: open(f"/proc/{pid}/{name}", "rb").read(1)
    for name in ("mem", "oom_score_adj", "coredump_filter", "clear_refs", "comm", "autogroup"):
        tries["write " + name] = lambda name=name: os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
    for name in ("root", "cwd", "exe", "fd/3", "ns/mnt"):
        tries["follow " + name] = lambda name=name: os.readlink(f"/proc/{pid}/{name}")
    tries["SIGKILL"] = lambda: call("pidfd_send_signal", pidfd, 9, None, 0)
    reached = []
    for name, one in tries.items():
        try:
            one()
            reached.append(name)
        except OSError:
            pass
    return sorted(reached)
"""


def reach(pid):
    names = {}
    exec(REACH, names)  # noqa: S102: the command below runs the same
    return names["reach"](pid)


def test_users_cannot_reach_a_supervisor(service):
    service.start()
    with session(service, "sh", "-c", "echo on; exec sleep 1000") as (process, supervisor, _):
        while not (spare := [pid for pid, uid in supervisors(service).items() if uid == 0]):
            os.sched_yield()
        for target in (supervisor, spare[0], service.process.pid):
            for uid in (ALICE, MALLORY):
                assert in_child(uid, lambda target=target: reach(target)) == []
        # The list is one that finds something: what Alice can do to a process of her own.
        with subprocess.Popen(["sh", "-c", "echo on; exec sleep 1000"], user=ALICE, group=ALICE, extra_groups=[],
                              stdout=subprocess.PIPE) as own:
            own.stdout.readline()
            found = in_child(ALICE, lambda: reach(own.pid))
            assert own.wait(PATIENCE) == -signal.SIGKILL
        assert {"SIGKILL", "vm", "read environ", "write mem", "list fd", "prlimit", "affinity", "renice"} <= set(found), found
        assert process.poll() is None


def test_what_a_supervisor_is(service):
    service.start()
    with session(service, "sh", "-c", "echo on; exec sleep 1000", env={"PATH": os.environ["PATH"], "SECRET": "x"}) as (
            _, supervisor, _):
        status = status_of(supervisor)
        real, effective, saved, filesystem = status["Uid"].split()
        assert (effective, filesystem) == (str(ALICE), str(ALICE)) and real == saved
        assert real not in ("0", str(ALICE))
        assert status["Groups"].split() == []
        assert int(status["CapPrm"], 16) == 1 << 19 and status["CapEff"] == status["CapInh"] == status["CapAmb"] == "0" * 16
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert Path(f"/proc/{supervisor}/environ").read_bytes() == b""
        assert os.getsid(supervisor) != supervisor
        assert Path(f"/proc/{supervisor}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[4] == "0"  # no terminal
        # Nothing of the broker's but its own channel, and nothing of another session's.
        kinds = sorted(os.readlink(f"/proc/{supervisor}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{supervisor}/fd"))
        assert kinds.count("socket") == 2, kinds
        assert kinds.count("/memfd") == 1 and kinds.count("anon_inode") <= 4, kinds


def test_a_command_cannot_reach_its_wrap(service):
    service.start()
    result = wrap(service, sys.executable, "-c", REACH + "print(json.dumps(reach(os.getppid())))")
    assert json.loads(result.stdout) == [], result


# ---- descriptors of wrap's own


def test_no_descriptor_of_wraps_is_passed_on(service):
    """Not by being inherited, and not by being asked for: --keep-fd means what the caller had open, not what wrap opens."""
    service.start()
    code = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))"
    inherited = os.open("/dev/null", os.O_RDONLY)
    result = wrap(service, sys.executable, "-c", code, pass_fds=[inherited])
    assert json.loads(result.stdout) == [0, 1, 2, 3], result  # 3: the listing itself
    high = os.dup2(inherited, 50)
    result = wrap(service, sys.executable, "-c", code, pass_fds=[high], options=["--keep-fd=50"])
    assert json.loads(result.stdout) == [0, 1, 2, 3, 50], result
    for fd in range(3, 20):
        result = wrap(service, "true", options=[f"--keep-fd={fd}"])
        assert result.returncode == 125 and "is not open" in result.stderr, result
    for fd in (inherited, high):
        os.close(fd)


def listeners_of(pid):
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return names.count("anon_inode:seccomp notify")


def test_the_supervisor_alone_has_the_listener(service):
    """A copy elsewhere could answer in its place, and would keep the command waiting after its death."""
    service.start()
    with session(service, "sh", "-c", "echo $$; exec sleep 1000") as (process, supervisor, command):
        assert listeners_of(supervisor) == 1
        for other in (process.pid, int(command), service.process.pid):
            assert listeners_of(other) == 0, other


@pytest.mark.parametrize("limit", range(4, 16))
def test_with_few_descriptors_it_runs_or_it_does_not(service, limit, tmp_path):
    """Whatever wrap cannot open: never a command that nobody supervises."""
    service.start()
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    nofile = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # noqa: E731
    result = wrap(service, "sh", "-c", f"grep ^Seccomp: /proc/self/status >{tmp_path}/ran", preexec_fn=nofile)
    if (tmp_path / "ran").exists() and result.returncode == 0:
        assert (tmp_path / "ran").read_text(encoding="utf-8") == "Seccomp:\t2\n"
    else:
        assert result.returncode != 0


def test_wrap_inside_wrap_is_refused(service):
    service.start()
    environment = {**os.environ, "WRAPD_SOURCE_ROOT": str(Path(__file__).resolve().parents[2])}
    result = wrap(service, WRAP, "--standalone", "--", "true", env=environment)
    assert result.returncode == 125 and "another supervisor is above us" in result.stderr, result
    result = wrap(service, WRAP, f"--control={service.control}", "--", "true")
    assert result.returncode == 125 and "wrap: cannot reach the service" in result.stderr, result


# ---- places


def test_a_runtime_directory_is_no_link(service):
    elsewhere = service.root / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    service.runtime.symlink_to(elsewhere)
    service.launch()
    with Peer(service.control, ALICE):
        assert service.process.wait(PATIENCE) == 1
    assert list(elsewhere.iterdir()) == [] and elsewhere.stat().st_mode & 0o777 == 0o700


def test_a_runtime_directory_of_another_is_refused(service):
    service.runtime.mkdir()
    os.chown(service.runtime, MALLORY, MALLORY)
    service.launch()
    with Peer(service.control, ALICE):
        assert service.process.wait(PATIENCE) == 1
    assert "does not belong to root" in service.text()
