# SPDX-License-Identifier: Apache-2.0
"""The service up to the start of a supervisor, with a stand-in for it (probe_supervisor.py)."""

import ctypes
import errno
import fcntl
import os
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from lib.daemon import POLICY, WRAPD
from lib.peers import PATIENCE, Peer, request
from lib.processes import SO_PASSRIGHTS, without_option
from lib.users import ALICE, BOB

CROWD = 3000000000  # ids without an account
SOCKETS = ["notify.sock", "signal.sock", "ptrace.sock"]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def prctl(*arguments):
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) < 0:
        raise OSError(ctypes.get_errno(), "prctl")


def sealed_memfd(size=100, seal=True):
    fd = os.memfd_create("profile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def connect_errno(path, uid):
    """0, or why a process of this uid cannot connect."""
    with Peer(path, uid) as peer:
        return peer.errno or 0


def connect_silently(path):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect(str(path))
    return one


def is_refused(reply, code, *words):
    assert reply is not None, "closed without a word"
    assert reply.get("reply") == "error", reply
    assert reply["code"] == code, reply
    for word in words:
        assert word in reply["message"], reply
    return True


# ---- the per-caller sockets


def test_sockets_are_the_callers_alone(service):
    with service.peer(ALICE) as alice:
        seen = alice.ask()
        assert "config" in seen, (seen, service.text())
        directory = seen["config"]["reply"]["directory"]
        assert directory == str(service.runtime / "sessions" / seen["config"]["reply"]["id"])
        status = os.stat(directory)
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o711)
        assert sorted(os.listdir(directory)) == sorted(SOCKETS)
        for name in SOCKETS:
            status = os.lstat(f"{directory}/{name}")
            assert stat.S_ISSOCK(status.st_mode)
            assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (ALICE, 0o600, 1)
    service.wait_for_no_sessions()


@pytest.mark.parametrize("name", SOCKETS)
def test_wrong_uid_then_right_uid(service, name):
    with service.peer(ALICE) as alice:
        path = alice.ask()["config"]["reply"]["directory"] + "/" + name
        assert connect_errno(path, BOB) == errno.EACCES
        assert connect_errno(path, ALICE) == 0


def test_directories_of_the_runtime(service):
    for path, mode in [(service.runtime, 0o755), (service.runtime / "sessions", 0o711)]:
        status = path.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, mode)


WITHOUT_CHOWN = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"]


def test_without_chown_it_refuses(make_service):
    service = make_service(prefix=WITHOUT_CHOWN).start()
    with service.peer(ALICE) as alice:
        assert is_refused(alice.ask(), "internal", "cannot give notify.sock to the caller")
    assert service.sessions() == []
    assert len(service.wait_for_event("peer_rejected")) == 1


def test_without_chown_and_with_the_fallback(make_service):
    service = make_service(prefix=WITHOUT_CHOWN)
    service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                              "handoff: {permissive_fallback: true}\n")
    service.start()
    with service.peer(ALICE) as alice:
        directory = alice.ask()["config"]["reply"]["directory"]
        for name in SOCKETS:
            status = os.lstat(f"{directory}/{name}")
            assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink) == (0, 0o666, 1)
            assert connect_errno(f"{directory}/{name}", BOB) == 0
            assert connect_errno(f"{directory}/{name}", ALICE) == 0


def test_leftovers_of_the_dead_are_swept_away(make_service):
    service = make_service()
    old, young, foreign = ["0" * 32, "1" * 32, "notes"]
    for name in (old, young, foreign):
        (service.runtime / "sessions" / name).mkdir(parents=True)
    (service.runtime / "sessions" / old / "notify.sock").touch()
    os.utime(service.runtime / "sessions" / old, (0, 0))
    service.start()
    # A young one may belong to a session that is being opened while the service is restarted.
    assert service.sessions() == sorted([young, foreign])


def test_runtime_directory_that_is_a_link_is_refused(make_service):
    service = make_service()
    (service.root / "elsewhere").mkdir()
    service.runtime.symlink_to(service.root / "elsewhere")
    service.launch()
    with service.peer(ALICE) as alice:
        assert alice.receive() is None
    assert service.process.wait(PATIENCE) == 1
    assert list((service.root / "elsewhere").iterdir()) == []


# ---- what a supervisor gets


def test_what_a_supervisor_gets(service):
    with service.peer(ALICE, gid=64010, groups=(64011, 64012)) as alice:
        seen = alice.ask(profile=True, command="make -j2", events=True)
        config = seen["config"]
        assert (config["uid"], config["gid"], sorted(config["groups"])) == (ALICE, 64010, [64011, 64012])
        assert config["client_pid"] == alice.pid
        assert config["command"] == "make -j2"
        assert config["events"] is True and config["profile"] is True
        tokens = config["reply"]["tokens"].values()
        assert len(set(tokens)) == 3 and all(len(token) == 64 for token in tokens)
        assert [kind.split(" ")[0] for kind in seen["fds"]] == [
            "socket", "socket", "socket", "socket", "/", "/memfd:wrapd-rules", "/memfd:wrapd-filter",
            str(service.runtime / "records")]
        assert seen["environment"] == ""
        assert seen["others"] == [0, 1, 2, 3]
        assert int(seen["blocked"], 16) == 0


def test_sessions_of_one_policy_share_pages(service):
    inodes = set()
    for _ in range(2):
        with service.peer(ALICE) as alice:
            pid = alice.ask()["pid"]
            rules = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            inodes.add(next(os.stat(path).st_ino for path in rules if "wrapd-rules" in os.readlink(path)))
    assert len(inodes) == 1


def test_working_directory_fills_the_variable(service):
    service.write_policy("default", path="${CWD}/*.sock")
    service.reload()
    inodes = set()
    for cwd in ("/a", "/b"):
        with service.peer(ALICE) as alice:
            pid = alice.ask(cwd=cwd)["pid"]
            rules = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            path = next(path for path in rules if "wrapd-rules" in os.readlink(path))
            inodes.add(os.stat(path).st_ino)
            with open(path, "rb") as block:
                assert block.read()
    assert len(inodes) == 2


def test_home_comes_from_the_user_database(service):
    write_access(service, "{users: ['*+'], policies: [default], default: default}")
    service.write_policy("default", path="${HOME}/*.sock")
    service.reload()
    with service.peer(ALICE) as alice:
        assert "config" in alice.ask()
    with service.peer(64999) as nobody:  # has no entry
        assert is_refused(nobody.ask(), "internal", "default.yaml:", "HOME")


# ---- the ends of supervisors


def test_running_takes_the_sockets_away(service):
    with service.peer(ALICE) as alice:
        alice.ask(command="RUN")
        service.wait_for_no_sessions()
    # It finished by itself: the end is its own to record.
    with service.peer(ALICE) as alice:
        alice.ask(command="DIE-READY")
    assert len(service.wait_for_event("session_closed")) == 1


@pytest.mark.parametrize("how, reason", [("DIE-FIRST", "exited with status 3"), ("DIE-READY", "killed by signal 9"),
                                         ("NONSENSE", "supervisor sent what it may not")])
def test_death_of_a_supervisor_is_recorded(service, how, reason):
    with service.peer(ALICE) as alice:
        alice.ask(command=how)
        assert alice.receive() is None  # nobody but the supervisor held the channel
        event, = service.wait_for_event("session_closed")
    assert reason in event["reason"]
    assert event["uid"] == ALICE and event["policy"] == "default"
    service.wait_for_no_sessions()


def test_a_supervisor_that_cannot_start(make_service):
    service = make_service(supervisor="/nonexistent/wrap-supervisor").start()
    with service.peer(ALICE) as alice:
        assert is_refused(alice.ask(), "internal", "cannot start /nonexistent/wrap-supervisor")
    assert service.sessions() == []


def test_sessions_outlive_the_service(service):
    with service.peer(ALICE) as alice:
        pid = alice.ask(command="RUN")["pid"]
        service.wait_for_no_sessions()
        service.process.terminate()
        assert service.process.wait(PATIENCE) == 0
        service.wait_for_notification("STOPPING=1")
        os.kill(pid, 0)
        pidfd = os.pidfd_open(pid)
    # Its client is gone: now it ends.
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)


# ---- requests


@pytest.mark.parametrize("text", [
    b"\x00", b"garbage", b"{", b"[]", b"{}", b"\xff\xfe", request()[:-1], request() + b"x", request(version=2),
    request(request="close"), request(surprise=1), request(command=5), request(cwd="relative"), request(policy=7),
    b"[" * 16000, b" " * 16385, b"{" + b" " * 60000],
    ids=lambda text: text[:20].decode(errors="replace"))
def test_bad_requests(service, text):
    with service.peer(ALICE) as alice:
        alice.send(text)
        assert is_refused(alice.receive(), "bad-request")
        assert alice.receive() is None
    with service.peer(ALICE) as alice:
        assert "config" in alice.ask()


def test_a_request_brings_no_descriptors(make_service):
    service = make_service(prefix=without_option(SO_PASSRIGHTS)).start()
    good, pipe = sealed_memfd(), os.pipe()
    for fds in ([good], [good, good], [good] * 200, [pipe[0]]):
        for profile in (True, False):
            with service.peer(ALICE) as alice:
                assert is_refused(alice.ask(fds=fds, profile=profile), "bad-request", "none belong to it"), (fds, profile)
    for fd in (good, *pipe):
        os.close(fd)


def test_an_empty_message_is_the_end(service):
    with service.peer(ALICE) as alice:
        alice.send(b"")
        assert alice.receive() is None


def test_silent_peers_delay_nobody(service):
    silent = [service.peer(ALICE) for _ in range(10)]
    with service.peer(BOB) as bob:
        assert "config" in bob.ask()
    # None of them has been told anything yet: Bob did not wait for their deadline.
    assert select.select([peer.socket for peer in silent], [], [], 0)[0] == []
    for peer in silent:
        assert is_refused(peer.receive(), "bad-request", "no request within 2 seconds")
        peer.close()


# ---- limits


def write_limits(service, **limits):
    text = ", ".join(f"{name}: {value}" for name, value in limits.items())
    service.config.write_text("version: 1\naccess:\n  - {users: ['*'], policies: [default], default: default}\n"
                              f"limits: {{{text}}}\n")


def test_pending_connections_are_limited_for_each_user(make_service):
    service = make_service()
    write_limits(service, pending_per_user=3)
    service.start()
    waiting = [service.peer(ALICE) for _ in range(3)]
    with service.peer(ALICE) as fourth, service.peer(BOB) as bob:
        assert is_refused(fourth.receive(), "limit", "limits.pending_per_user", "administrator")
        assert "config" in bob.ask()
    assert "config" in waiting[0].ask()
    for peer in waiting:
        peer.close()


def test_subordinate_ids_of_one_owner_are_one_user(make_service):
    service = make_service()
    write_limits(service, pending_per_user=3)
    service.subuid.write_text(f"carol:{CROWD}:10\ndave:{CROWD + 10}:10\n")
    service.start()
    kept = [service.peer(CROWD + i) for i in range(3)]
    with service.peer(CROWD + 3) as fourth, service.peer(CROWD + 10) as other, service.peer(ALICE) as alice:
        assert is_refused(fourth.receive(), "limit", "limits.pending_per_user")
        assert alice.ask()["config"]
        assert is_refused(other.ask(), "not-permitted")
    assert all(peer.errno is None for peer in kept)


def test_who_waits_longest_without_a_request_goes_first(make_service):
    service = make_service()
    write_limits(service, pending_per_user=100, pending=8)  # of which strangers may have six
    service.subuid.write_text(f"carol:{CROWD}:100\n")
    service.start()
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]  # by when it is known that there is an account
    bob = service.peer(BOB)
    crowd = [service.peer(CROWD + i) for i in range(20)]
    for peer in crowd[:14]:
        assert is_refused(peer.receive(), "limit", "no request came", "limits.pending")
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]
    # Not those who came last, and not who has an account.
    for peer in (*crowd[14:], bob):
        peer.send(b"{}")
        assert is_refused(peer.receive(), "bad-request")


def test_a_crowd_that_hangs_up_costs_its_number(make_service):
    """Processor time of the service for connections that all end at once: four times as many may not cost much more than
    four times as much."""
    service = make_service()
    write_limits(service, pending_per_user=100000, pending=100000)
    service.start()

    def spent():
        with open(f"/proc/{service.process.pid}/schedstat", encoding="ascii") as text:
            return int(text.read().split()[0])

    def cost(number):
        waiting = [connect_silently(service.control) for _ in range(number)]
        with service.peer(ALICE) as alice:
            assert alice.ask()["config"]  # by when all before are accepted
        service.process.send_signal(signal.SIGSTOP)
        for one in waiting:
            one.close()
        before = spent()
        service.process.send_signal(signal.SIGCONT)
        with service.peer(ALICE) as alice:
            assert alice.ask()["config"]
        return spent() - before

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        cost(100)
        few, many = cost(1500), cost(6000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(few, many)
    assert many < 9 * few, (few, many)


def test_sessions_are_limited_for_each_user(make_service):
    service = make_service()
    write_limits(service, sessions_per_user=2)
    service.start()
    open_ones = [service.peer(ALICE) for _ in range(2)]
    pids = [peer.ask()["pid"] for peer in open_ones]
    with service.peer(ALICE) as third, service.peer(BOB) as bob:
        assert is_refused(third.ask(), "limit", "limits.sessions_per_user", "administrator")
        assert "config" in bob.ask()
    # Ends without having run: recorded, and from then on not counted.
    open_ones[0].close()
    service.wait_for_event("session_closed", 2)
    with service.peer(ALICE) as third:
        assert "config" in third.ask()
    open_ones[1].close()
    assert len(set(pids)) == 2


def test_sessions_are_limited_in_all(make_service):
    service = make_service()
    write_limits(service, sessions=1)
    service.start()
    with service.peer(ALICE) as alice, service.peer(BOB) as bob:
        assert "config" in alice.ask()
        assert is_refused(bob.ask(), "limit", "limits.sessions)")


def test_refusals_are_counted_not_repeated(service):
    for _ in range(5):
        with service.peer(ALICE) as alice:
            assert is_refused(alice.ask(policy="other"), "not-permitted")
    with service.peer(BOB) as bob:
        assert is_refused(bob.ask(policy="other"), "not-permitted")
    events = service.wait_for_event("peer_rejected", 2)
    assert [event["peer_uid"] for event in events] == [ALICE, BOB]
    assert "not-permitted" in events[0]["reason"]
    # What was counted is recorded at the latest when the service ends.
    service.process.terminate()
    service.process.wait(PATIENCE)
    rest = service.events("peer_rejected")[2:]
    assert [(event["peer_uid"], event["count"]) for event in rest] == [(ALICE, 4)]


def test_no_descriptors_left(make_service):
    service = make_service(prefix=["prlimit", "--nofile=104:104"]).start()
    crowd = [service.peer(uid) for uid in range(64100, 64110) for _ in range(12)]
    replies = [peer.receive() for peer in crowd]
    assert any(reply["code"] == "limit" and "descriptors" in reply["message"] for reply in replies)
    assert all(reply["code"] in ("limit", "bad-request") for reply in replies)
    for peer in crowd:
        peer.close()
    with service.peer(BOB) as bob:
        assert "config" in bob.ask()


# ---- confined callers


def no_new_privs():
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def seccomp_filter():
    """As root, so that no_new_privs is not needed and not set."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))  # return ALLOW

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(1, ctypes.addressof(program))))


def user_namespace():
    if libc.unshare(CLONE_NEWUSER) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def other_thread(action):
    """Confines another thread than the one that connects."""
    ready = threading.Event()

    def confine():
        action()
        ready.set()
        threading.Event().wait()

    threading.Thread(target=confine, daemon=True).start()
    assert ready.wait(PATIENCE)


CONFINED = {
    "no_new_privs": ({"after": no_new_privs}, "no_new_privs"),
    "seccomp": ({"before": seccomp_filter}, "seccomp"),
    "user namespace": ({"after": user_namespace}, "user namespace"),
    "another thread": ({"after": lambda: other_thread(no_new_privs)}, "no_new_privs"),
    "many threads": ({"after": lambda: [other_thread(lambda: None) for _ in range(80)]}, "too many threads"),
}


@pytest.mark.parametrize("name", CONFINED)
@pytest.mark.parametrize("uid", [ALICE, 0])
def test_confined_callers_get_no_session(service, name, uid):
    how, word = CONFINED[name]
    with service.peer(uid, **how) as peer:
        assert is_refused(peer.ask(), "confined", word, "wrap --standalone")
    assert service.sessions() == []


def test_a_caller_that_has_gone(service):
    with service.peer(ALICE) as alice:
        kept = alice.socket.dup()
    with kept:  # its process is reaped
        kept.send(request())
        kept.settimeout(PATIENCE)
        assert b'"confined"' in kept.recv(65536)


def test_unconfined_root_and_threads_are_served(service):
    with service.peer(0) as root:
        assert "config" in root.ask()
    with service.peer(ALICE, after=lambda: other_thread(lambda: None)) as alice:
        assert "config" in alice.ask()


# ---- policies


def write_access(service, *entries):
    service.config.write_text("version: 1\naccess:\n" + "".join(f"  - {entry}\n" for entry in entries))


@pytest.mark.parametrize("who,served", [("*", False), ("*+", True)])
def test_who_has_no_account(make_service, who, served):
    service = make_service()
    service.config.write_text(f"version: 1\naccess: [{{users: ['{who}'], policies: [default], default: default}}]\n")
    service.config.chmod(0o644)
    service.start()
    with service.peer(CROWD) as nobody, service.peer(ALICE) as alice, service.peer(0) as root:
        answer = nobody.ask()
        if served:
            assert answer["config"]["uid"] == CROWD
        else:
            assert is_refused(answer, "not-permitted", "account")
        assert alice.ask()["config"] and root.ask()["config"]


def test_who_gets_which_policy(make_service):
    service = make_service()
    for name in ("alices", "secret"):
        service.write_policy(name)
    write_access(service, f"{{users: [{ALICE}], policies: [alices, default], default: alices}}",
                 "{groups: [64050], policies: [default], default: default}")
    service.start()
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]["reply"]["policy"] == "alices"
    with service.peer(ALICE) as alice:
        assert alice.ask(policy="default")["config"]["reply"]["policy"] == "default"
    # Whether a policy exists that is not hers, she does not learn.
    messages = []
    for name in ("secret", "absent"):
        with service.peer(ALICE) as alice:
            reply = alice.ask(policy=name)
            assert is_refused(reply, "not-permitted")
            messages.append(reply["message"].replace(name, "NAME"))
    assert messages[0] == messages[1]
    with service.peer(BOB) as bob:
        assert is_refused(bob.ask(), "not-permitted", "wrapd.yaml")
    with service.peer(BOB, groups=(64050,)) as bob:
        assert bob.ask()["config"]["reply"]["policy"] == "default"


def test_broken_policies(make_service):
    service = make_service()
    write_access(service, "{users: ['*'], policies: [default, broken, writable, twice, mine], default: default}")
    service.write_policy("broken", text="version: 1\nname: broken\nsurprise: 1\n")
    service.write_policy("writable", mode=0o666)
    service.write_policy("twice")
    service.write_policy("twice", file="zwice.yaml")
    # The vendor's file of the same name does not stand in for a broken one.
    service.write_policy("mine", text="nonsense: [", file="mine.yaml")
    service.write_policy("mine", directory=service.vendor, file="mine.yaml")
    service.start()
    for name in ("broken", "writable", "twice", "mine"):
        with service.peer(ALICE) as alice:
            assert is_refused(alice.ask(policy=name), "unknown-policy", "is broken")
    with service.peer(ALICE) as alice:
        assert "config" in alice.ask()
    rejected = {os.path.basename(event["path"]): event["reason"] for event in service.wait_for_event("policy_rejected", 4)}
    assert sorted(rejected) == ["broken.yaml", "mine.yaml", "writable.yaml", "zwice.yaml"]
    assert "broken.yaml:3:" in rejected["broken.yaml"]
    for reason in rejected.values():
        assert f"wrapd: {reason}" in service.text()
    assert sorted(event["policy"] for event in service.events("policy_loaded")) == ["default", "twice"]


def test_the_administrators_file_wins_whole(make_service):
    service = make_service()
    write_access(service, "{users: ['*'], policies: [default, other, vendors], default: default}")
    service.write_policy("default", directory=service.vendor)
    service.write_policy("other", directory=service.vendor, file="x.yaml")
    service.write_policy("vendors", directory=service.vendor)
    service.write_policy("default", text=POLICY.format(name="other", path="/run/other"), file="x.yaml")
    service.start()
    loaded = {event["policy"]: event["path"] for event in service.wait_for_event("policy_loaded", 3)}
    assert loaded == {"default": str(service.policies / "default.yaml"), "other": str(service.policies / "x.yaml"),
                      "vendors": str(service.vendor / "vendors.yaml")}


def test_reload_is_whole_or_nothing(service):
    write_access(service, "{users: ['*'], policies: [default, new], default: new}")
    service.write_policy("new")
    broken = service.write_policy("broken", text="version: 1\n")
    assert "reload failed" in service.reload()
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]["reply"]["policy"] == "default"
    broken.unlink()
    assert ", 2 policies" in service.reload()
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]["reply"]["policy"] == "new"
    service.config.write_text("version: 1\nsurprise: 1\n")
    assert "reload failed" in service.reload()
    assert f"wrapd: {service.config}:2:1:" in service.text()
    write_access(service, "{users: ['*'], policies: [default, gone], default: default}")
    assert "reload failed" in service.reload()
    assert f"wrapd: {service.config}:3:40: there is no policy 'gone'" in service.text()
    for name in (service.config, service.policies):
        kept = name.rename(name.with_name("kept"))
        name.symlink_to("nowhere")
        assert "reload failed" in service.reload()
        name.unlink()
        kept.rename(name)
    with service.peer(ALICE) as alice:
        assert alice.ask()["config"]["reply"]["policy"] == "new"


@pytest.mark.parametrize("text, mode, word", [("version: 1\naccess: 5\n", 0o644, "wrapd.yaml:2:"),
                                              ("version: 1\n", 0o666, "others than root can write")])
def test_invalid_configuration_ends_the_start(make_service, text, mode, word):
    service = make_service()
    service.config.write_text(text)
    service.config.chmod(mode)
    service.launch()
    with service.peer(ALICE) as alice:
        assert is_refused(alice.receive(), "internal", "configuration is broken")
    assert service.process.wait(PATIENCE) == 78
    assert word in service.text()


def test_what_is_installed_works(make_service):
    """The example configuration, with the vendor's policies."""
    service = make_service()
    (service.policies / "default.yaml").unlink()
    units = Path(__file__).resolve().parents[3] / "units"
    shutil.copy(units / "wrapd.yaml", service.config)
    for policy in (units / "policies").glob("*.yaml"):
        shutil.copy(policy, service.vendor)
        (service.vendor / policy.name).chmod(0o644)
    service.config.chmod(0o644)
    service.start()
    for uid in (ALICE, 0):
        with service.peer(uid) as peer:
            assert peer.ask()["config"]["reply"]["policy"] == "default"
    assert service.events("policy_rejected") == []


# ---- activation


def run_directly(*arguments, **how):
    with tempfile.TemporaryDirectory(prefix="wrapd-test-") as directory:
        return subprocess.run([WRAPD, f"--runtime-dir={directory}/run", *arguments], capture_output=True, text=True,
                              timeout=PATIENCE, check=False, **how)


def test_without_a_socket():
    result = run_directly()
    assert result.returncode == 1 and "wrapd.socket" in result.stderr


@pytest.mark.parametrize("how", [["--seqpacket", "--fdname=other"], ["--seqpacket"], ["--fdname=wrapd-control"]])
def test_wrong_sockets_are_refused(tmp_path, how):
    path = tmp_path / "control"
    process = subprocess.Popen(["systemd-socket-activate", *how, f"--listen={path}", WRAPD, f"--runtime-dir={tmp_path}/run"],
                               stderr=subprocess.PIPE, text=True)
    assert "Listening" in process.stderr.readline()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if "--seqpacket" in how else socket.SOCK_STREAM) as kick:
        kick.connect(str(path))
        assert process.wait(PATIENCE) == 1
    assert "control" in process.stderr.read()
    process.stderr.close()


def test_options():
    assert run_directly("--version").stdout.startswith("wrapd ")
    assert "--policy-dir" in run_directly("--help").stdout
    for arguments in (["--surprise"], ["--config"], ["--config", "relative"], ["extra"]):
        result = run_directly(*arguments)
        assert result.returncode == 64 and result.stderr.count("\n") == 1, result
