# SPDX-License-Identifier: Apache-2.0
"""A hostile program inside a session of the real programs: `wrap --standalone`, and `wrap` with the service.

Where an attack needs nothing but the absence of wrap to succeed, it is run without first, and must."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest

from lib.sessions import COMPILE, WRAP
from lib.users import accounts

HERE = Path(__file__).resolve().parent
PROGRAM = os.environ.get("WRAPD_TEST_INSIDE", "")
DEFAULT_POLICY = os.environ.get("WRAPD_TEST_DEFAULT_POLICY", "")
UID = 64201
USER = "wrapd-test-in"
PATIENCE = 60

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root: several real uids"),
              pytest.mark.skipif(not (PROGRAM and WRAP), reason="WRAPD_TEST_INSIDE, WRAPD_TEST_WRAP name no programs"),
              pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd-socket-activate")]

POLICY = """version: 1
name: default
sandbox: {{{sandbox}}}
unix_socket_rules:
  - {{name: open, paths: ["{root}/open/*"], decision: allow}}
"""


class Place:
    """Directories "open" and "kept" that belong to the user, with a server of root's in each, and ways to run things."""

    def __init__(self, root):
        self.root = root
        root.chmod(0o755)
        self.servers = {}
        for name in ("open", "kept"):
            (root / name).mkdir()
            os.chown(root / name, UID, UID)
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(root / name / "s"))
            os.chmod(root / name / "s", 0o666)
            server.listen(50)
            self.servers[name] = server
            threading.Thread(target=self.serve, args=(server,), daemon=True).start()
        # Where the build tree is need not be the user's to look at.
        self.inside = root / "inside"
        shutil.copy(PROGRAM, self.inside)
        self.profile = self.write("profile.yaml", POLICY.format(sandbox="", root=root))
        self.victims = []

    @staticmethod
    def serve(server):
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    def write(self, name, text):
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o644)
        return self.root / name

    def standalone(self, *options, profile=None):
        return [WRAP, f"--compile={COMPILE}", "--standalone", f"--profile={profile or self.profile}", *options, "--"]

    def run(self, prefix, *command, **how):
        how.setdefault("cwd", self.root / "kept")
        how.setdefault("timeout", PATIENCE)
        return subprocess.run([*prefix, *map(str, command)], user=UID, group=UID, extra_groups=[], capture_output=True,
                              text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": str(self.root)}, **how)

    def victim(self):
        """A process of the user's outside; says its number and where it keeps an int."""
        code = ("import ctypes, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nv = ctypes.c_int(1)\nprint(ctypes.addressof(v), flush=True)\n"
                "signal.sigwait([signal.SIGTERM])\nraise SystemExit(v.value)\n")
        process = subprocess.Popen([sys.executable, "-c", code], user=UID, group=UID, extra_groups=[], cwd="/",
                                   stdout=subprocess.PIPE, text=True)
        self.victims.append(process)
        return process, int(process.stdout.readline())

    def close(self):
        for process in self.victims:
            process.kill()
            process.wait()
            process.stdout.close()
        for server in self.servers.values():
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def user():
    with accounts(wrapd_test_in=["--uid", str(UID)]):
        yield


@pytest.fixture
def place(user):
    made = Place(Path(tempfile.mkdtemp(prefix="wrapd-inside-")))
    yield made
    made.close()


@pytest.fixture
def service(place, make_service):
    made = make_service()
    made.write_policy("default", text=POLICY.format(sandbox="", root=place.root))
    return made.start()


@pytest.fixture(params=["standalone", "service"])
def wrapped(request, place):
    """How to run a command with wrap: both ways."""
    if request.param == "standalone":
        return place.standalone()
    return [WRAP, f"--control={request.getfixturevalue('service').control}", "--"]


def words(result):
    """What the program said: {"what": "done" or an error's name}."""
    assert result.stdout, result.stderr
    return dict(line.split() for line in result.stdout.splitlines())


def test_other_processes_of_the_user(place, wrapped):
    victim, address = place.victim()
    free = words(place.run([], place.inside, "process", victim.pid, hex(address)))
    assert free["read-memory"] == free["write-memory"] == free["open-mem"] == free["take-descriptor"] == "done"
    victim.send_signal(signal.SIGTERM)
    assert victim.wait(PATIENCE) == 2

    victim, address = place.victim()
    held = words(place.run(wrapped, place.inside, "process", victim.pid, hex(address)))
    # The numbers of its descriptors can be listed; what they are cannot be seen, nor opened.
    assert held.pop("open-fd") == "done"
    assert set(held.values()) <= {"EPERM", "EACCES"}, held
    victim.send_signal(signal.SIGTERM)
    assert victim.wait(PATIENCE) == 1
    assert place.run(wrapped, "cat", f"/proc/{victim.pid}/fd/1").returncode == 1


def test_signals_to_the_outside(place, wrapped):
    victim, _ = place.victim()
    place.run([], place.inside, "sigio", victim.pid)
    assert victim.wait(PATIENCE) == -signal.SIGKILL

    victim, _ = place.victim()
    held = words(place.run(wrapped, place.inside, "signals", victim.pid))
    for way in ("kill", "tgkill", "tkill", "queue", "queue-thread", "pidfd"):
        assert held[way] == "EPERM", held
    victim.send_signal(signal.SIGTERM)
    assert victim.wait(PATIENCE) == 1  # its own end, not SIGKILL


def test_the_supervisor_as_a_peer(place, wrapped):
    """Who connects to a program's own server is its supervisor: a pidfd of it is good for nothing."""
    result = place.run(wrapped, place.inside, "peer", place.root / "open" / "p")
    held = words(result)
    assert held.pop("peer") == "another"
    for way in ("own", "signal", "async"):  # can be set; the signal is not sent
        held.pop(way)
    assert set(held.values()) <= {"EPERM", "EACCES"}, held
    assert result.returncode == 0, result.stderr  # its supervisor lived to the end


def test_the_terminal(place, wrapped):
    def typed(prefix):
        """What a program could put into the terminal's input."""
        pid, master = pty.fork()
        if pid == 0:
            os.fchown(0, UID, UID)
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
            attributes = termios.tcgetattr(0)
            attributes[3] &= ~(termios.ICANON | termios.ECHO)
            attributes[6][termios.VMIN] = 0
            termios.tcsetattr(0, termios.TCSANOW, attributes)
            output = os.open(place.root / "kept" / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            subprocess.run([*prefix, place.inside, "terminal"], stdout=output, stderr=output, check=False)
            os._exit(len(os.read(0, 100)))
        _, status = os.waitpid(pid, 0)
        os.close(master)
        return os.waitstatus_to_exitcode(status), (place.root / "kept" / "out").read_text()

    free, _ = typed([])
    if free == 0:
        pytest.skip("this kernel lets nobody type into a terminal (dev.tty.legacy_tiocsti)")
    held, said = typed(wrapped)
    said = dict(line.split() for line in said.splitlines())
    assert held == 0 and said.pop("tty") == "done" and set(said.values()) == {"EPERM"}, said


def test_all_threads_of_the_supervisor_wait(place, wrapped):
    """More calls that wait than there are threads: what is denied stays denied, and it ends when there is room."""
    full = place.root / "open" / "full"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(full))
    full.chmod(0o666)
    server.listen(0)
    try:
        process = subprocess.Popen([*wrapped, str(place.inside), "exhaust", str(full), str(place.root / "kept" / "s"), "48"],
                                   user=UID, group=UID, extra_groups=[], cwd=place.root / "kept", stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "reached 0\n"
        threading.Thread(target=place.serve, args=(server,), daemon=True).start()
        rest, _ = process.communicate("x", timeout=PATIENCE)
        assert rest.splitlines() == ["sum 48", "afterwards done"]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_threads_that_outlive_or_replace_each_other(place, wrapped):
    for name, outcome in (("kept", "EACCES"), ("open", "done")):
        assert words(place.run(wrapped, place.inside, "leaderless", place.root / name / "s")) == {"leaderless": outcome}
    storm = place.run(wrapped, place.inside, "exec-storm", place.root / "kept" / "s", 20)
    assert storm.stdout == "denied EACCES\n", storm
    free = place.run([], place.inside, "exec-storm", place.root / "kept" / "s", 2)
    assert "reached done" in free.stdout


def test_children_for_the_supervisor_to_reap(place, wrapped):
    result = place.run(wrapped, "sh", "-c", f"{place.inside} siblings 2000 && {place.inside} connect {place.root}/kept/s")
    assert result.stdout == "done\nconnect EACCES\n", result.stderr


def closed_log(log):
    """The lines of a log whose session is over: the supervisor writes the last one when wrap has gone."""
    deadline = time.monotonic() + PATIENCE
    while '"type":"session_closed"' not in (lines := log.read_text().splitlines() or [""])[-1]:
        assert time.monotonic() < deadline, lines
        time.sleep(0.01)
    return lines


def test_names_that_forge_records(place):
    """Newlines, quotes, terminal sequences, what turns the direction of writing, bytes that are no text, 108 bytes."""
    evil = [b"\x1b]0;x\x07\nwrap: all fine", b'"}\n{"type":"session_closed"', b"\xc2\x9bm\xe2\x80\xae\xff", b"MESSAGE=x\n"]
    evil = [os.fsencode(place.root) + b"/kept/" + name for name in evil]
    evil.append((os.fsencode(place.root) + b"/kept/").ljust(108, b"a"))
    for name in evil:
        os.link(place.root / "kept" / "s", name)
    log = place.root / "kept" / "log"
    result = place.run(place.standalone(f"--audit-log={log}"), place.inside, "names", *map(os.fsdecode, evil),
                       errors="surrogateescape")
    assert result.stdout.split() == ["connect", "EACCES"] * len(evil), result
    lines = closed_log(log)
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events] == ["session_opened", *["unix_socket_op"] * len(evil), "session_closed"]
    shown = "".join(lines) + result.stderr
    assert all(c == "\n" or c.isprintable() for c in shown), shown
    # Every line of the summary is ours.
    assert all(line.startswith(("wrap: ", "  ")) for line in result.stderr.splitlines()), result.stderr
    assert "wrap: all fine" not in result.stderr.splitlines()


# Every way to a descriptor of the log: our own, those of all processes that are seen, by /proc and by pidfd_getfd(2).
REACH_LOG = """
import ctypes, os, sys
log = os.stat(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
reached = []
def is_log(fd):
    st = os.fstat(fd)
    return (st.st_dev, st.st_ino) == (log.st_dev, log.st_ino)
for pid in [int(name) for name in os.listdir('/proc') if name.isdigit()]:
    try:
        for fd in os.listdir(f'/proc/{pid}/fd'):
            try:
                copy = os.open(f'/proc/{pid}/fd/{fd}', os.O_WRONLY | os.O_NONBLOCK)
                if is_log(copy):
                    reached.append('own' if pid == os.getpid() else 'proc')
            except OSError:
                pass
    except OSError:
        pass
    pidfd = libc.syscall(434, pid, 0)
    if pidfd < 0 or pid == os.getpid():
        continue
    for fd in range(64):
        copy = libc.syscall(438, pidfd, fd, 0)
        if copy >= 0 and is_log(copy):
            reached.append('pidfd')
print('reached', *sorted(set(reached)))
"""


@pytest.mark.parametrize("how", ["name", "descriptor"])
def test_no_descriptor_of_the_audit_log_can_be_had(place, how):
    log = place.root / "kept" / "log"
    log.touch()
    os.chown(log, UID, UID)
    held = os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        # Natively: a process of the user's with such a descriptor is open to all others of the user's.
        holder = subprocess.Popen([sys.executable, "-c", "import sys; print('holds', flush=True); sys.stdin.read()"],
                                  user=UID, group=UID, extra_groups=[], pass_fds=[held], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "holds\n"
            natively = place.run([], sys.executable, "-c", REACH_LOG, log).stdout.split()
            assert "proc" in natively, natively
        finally:
            holder.communicate()
        wrapped = place.standalone(f"--audit-log={log if how == 'name' else f'fd:{held}'}")
        result = place.run(wrapped, sys.executable, "-c", REACH_LOG, log, pass_fds=[held] if how == "descriptor" else [])
        assert result.stdout == "reached\n", result
        assert "audit log" not in result.stderr
        assert [json.loads(line)["type"] for line in log.read_text().splitlines()][0] == "session_opened"
    finally:
        os.close(held)


@pytest.mark.parametrize("attack", ["echo forged >>{log}", "truncate -s 0 {log}", "rm {log}", "mv {log} {log}.old",
                                    "cp {log} {log}.new; mv {log}.new {log}"])
def test_what_happens_to_the_audit_log_by_its_name_is_told(place, attack):
    log = place.root / "kept" / "log"
    result = place.run(place.standalone(f"--audit-log={log}"), "sh", "-c", attack.format(log=log))
    assert result.returncode == 0, result
    assert "by somebody else while the command ran: do not rely on it" in result.stderr, result
    log.unlink(missing_ok=True)
    quiet = place.run(place.standalone(f"--audit-log={log}"), place.inside, "connect", place.root / "kept" / "s")
    assert "do not rely on it" not in quiet.stderr, quiet
    assert len(closed_log(log)) == 3


def test_an_audit_log_is_not_anothers(place):
    """A link or a file that somebody else has put where the user's log is to be would have the user write there."""
    common = place.root / "common"
    common.mkdir()
    common.chmod(0o777)
    precious = place.root / "kept" / "precious"
    precious.write_text("precious\n")
    os.chown(precious, UID, UID)
    (common / "link").symlink_to(precious)
    (common / "file").touch()
    (common / "file").chmod(0o666)
    os.chown(common / "file", UID + 1, UID + 1)
    os.lchown(common / "link", UID + 1, UID + 1)
    for name in ("link", "file"):
        result = place.run(place.standalone(f"--audit-log={common / name}"), "true")
        assert result.returncode == 125 and str(common / name) in result.stderr, result
    assert precious.read_text() == "precious\n" and (common / "file").read_text() == ""


def test_an_audit_log_for_a_descriptor_of_the_commands_is_refused(place):
    read, write = os.pipe()
    try:
        for options in (["--audit-log=fd:2"], ["--audit-log=fd:x"], [f"--keep-fd={write}", f"--audit-log=fd:{write}"],
                        [f"--audit-log=fd:{read}"], ["--audit-log=fd:999"]):
            result = place.run(place.standalone(*options), "true", pass_fds=[read, write])
            assert result.returncode == 125 and len(result.stderr.splitlines()) == 1, (options, result)
    finally:
        os.close(read)
        os.close(write)


def test_flood_of_equal_calls_is_few_records(place):
    """And as many of them as it had."""
    log = place.root / "kept" / "log"
    calls = 5000
    code = ("import socket, sys\nfor _ in range(int(sys.argv[2])):\n  s = socket.socket(socket.AF_UNIX)\n"
            "  try: s.connect(sys.argv[1]); print('reached')\n  except PermissionError: pass\n  s.close()\n")
    result = place.run(place.standalone(f"--audit-log={log}"), sys.executable, "-c", code, place.root / "kept" / "s", calls)
    assert result.stdout == "", result
    assert f"wrap: {calls} operations denied" in result.stderr, result.stderr
    counts = [event.get("count", 1) for event in map(json.loads, closed_log(log))
              if event["type"] == "unix_socket_op"]
    assert sum(counts) == calls and len(counts) < 20, counts


def test_flood_with_an_audit_log_that_nobody_reads(place):
    """More different denials than any queue holds, into a FIFO that takes nothing: bounded, counted, told."""
    links = 6000
    for i in range(links):
        os.link(place.root / "kept" / "s", place.root / "kept" / str(i))
    fifo = place.root / "kept" / "fifo"
    os.mkfifo(fifo)
    os.chown(fifo, UID, UID)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        result = place.run(place.standalone(f"--audit-log={fifo}"), "sh", "-c",
                           f"{place.inside} flood {place.root}/kept {links}; grep VmHWM /proc/$PPID/status")
        assert result.stdout.startswith("reached 0\n"), result
        kilobytes = int(result.stdout.split("VmHWM:")[1].split()[0])
        assert kilobytes < 32768
        assert f"wrap: {links} operations denied" in result.stderr, result.stderr
        assert "audit events could not be recorded" in result.stderr, result.stderr
        # The first ones are whole lines, in order.
        first = os.read(reader, 65536).decode().splitlines()
        assert json.loads(first[0])["type"] == "session_opened" and json.loads(first[1])["path"].endswith("/kept/0")
    finally:
        os.close(reader)


@pytest.mark.parametrize("sandbox, reached, datagrams, seccomp", [
    ("", False, False, 2),
    ("seccomp: {mode: audit}", True, True, 2),
    ("seccomp: {unix_socket: {action: audit}}", True, True, 2),
    ("seccomp: {unix_socket: {enabled: false}}", True, True, 2),
    ("unix_sockets: {enabled: false}", True, True, 2),
    ("seccomp: {mode: disabled}", True, True, 0),
    ("seccomp: {enabled: false}", True, True, 0),
    ("on_unsupported: monitor", False, False, 2),
])
def test_modes_do_what_they_say(place, sandbox, reached, datagrams, seccomp):
    profile = place.write("mode.yaml", POLICY.format(sandbox=sandbox, root=place.root))
    code = ("import socket\ntry:\n  socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); print('datagrams done')\n"
            "except OSError: print('datagrams EACCES')\n"
            "print('seccomp', next(l.split()[1] for l in open('/proc/self/status') if l.startswith('Seccomp:')))\n")
    log = place.root / "kept" / "log"
    said = words(place.run(place.standalone(profile=profile), sys.executable, "-c", code))
    assert said == {"datagrams": "done" if datagrams else "EACCES", "seccomp": str(seccomp)}
    result = place.run(place.standalone(f"--audit-log={log}", profile=profile), place.inside, "connect",
                       place.root / "kept" / "s")
    assert words(result) == {"connect": "done" if reached else "EACCES"}
    operations = [event for event in map(json.loads, log.read_text().splitlines()) if event["type"] == "unix_socket_op"]
    if "audit" in sandbox:
        assert [(e["decision"], e["action"]) for e in operations] == [("deny", "allowed")]
        assert "would have denied connect" in result.stderr
    elif not reached:
        assert [(e["decision"], e["action"]) for e in operations] == [("deny", "denied")]
        assert "1 operation denied" in result.stderr
    else:
        assert operations == []
    if seccomp == 0:
        assert "not confined" in result.stderr


def test_a_refusal_of_the_supervisors_names_no_policy(place):
    """Neither the administrator nor the user has a rule for the service's own places."""
    log = place.root / "kept" / "log"
    result = place.run(place.standalone(f"--audit-log={log}"), "sh", "-c",
                       f"{place.inside} connect /run/wrapd/control; {place.inside} connect {place.root}/kept/s")
    protected, unlisted = (event for event in map(json.loads, closed_log(log)) if event["type"] == "unix_socket_op")
    assert protected["path"] == "/run/wrapd/control" and protected["reason"] == "protected"
    assert not {"policy", "mode", "rule"} & protected.keys(), protected
    assert unlisted["policy"] and unlisted["mode"] == "enforce" and "reason" not in unlisted
    assert "connect /run/wrapd/control: protected\n" in result.stderr, result.stderr


def test_a_name_that_was_opened_is_anothers_to_reach(place, wrapped):
    """Binding at an allowed name serves clients outside; binding at another one does not."""
    code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ntry:\n  s.bind(sys.argv[1]); s.listen()\n"
            "except OSError as e:\n  print(e.errno, flush=True); raise SystemExit\n"
            "print('listens', flush=True); s.accept()[0].send(b'hello')\n")
    for name, outcome in (("open", "listens"), ("kept", "13")):
        process = subprocess.Popen([*wrapped, sys.executable, "-c", code, str(place.root / name / "own")], user=UID, group=UID,
                                   extra_groups=[], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            assert process.stdout.readline().strip() == outcome
            with socket.socket(socket.AF_UNIX) as client:
                if name == "open":
                    client.connect(str(place.root / name / "own"))
                    assert client.recv(10) == b"hello"
                else:
                    with pytest.raises(FileNotFoundError):
                        client.connect(str(place.root / name / "own"))
            process.communicate(timeout=PATIENCE)


FORK_SERVER = """
import multiprocessing, sys
if __name__ == "__main__":
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        pool.map(abs, [1])
        from multiprocessing.forkserver import _forkserver
        print(_forkserver._forkserver_address, flush=True)
        sys.stdin.read()
"""
# What a client of the fork server sends: ends of pipes, and through one of them two pickles.
ASK_FORK_SERVER = """
import os, pickle, socket, sys
from multiprocessing import reduction
class Run:
    def __reduce__(self):
        return os.system, (sys.argv[2],)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as error:
    print("refused", error.errno)
    raise SystemExit
pipes = [os.pipe() for _ in range(3)]
reduction.sendfds(s, [pipes[0][0], pipes[1][1], pipes[2][0], pipes[2][0]])
os.write(pipes[0][1], pickle.dumps({}) + pickle.dumps(Run()))
os.close(pipes[1][1])
while os.read(pipes[1][0], 100):
    pass
print("executed", "-")
"""


@pytest.mark.skipif(not DEFAULT_POLICY, reason="WRAPD_TEST_DEFAULT_POLICY names no file")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python's fork server asks who is there")
def test_a_fork_server_of_the_users_under_the_default_policy(place):
    script = place.write("server.py", FORK_SERVER)
    server = subprocess.Popen([sys.executable, script], user=UID, group=UID, extra_groups=[], cwd="/", text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with server:
        try:
            address = server.stdout.readline().strip()
            mark = place.root / "kept" / "mark"
            attack = [sys.executable, "-c", ASK_FORK_SERVER, address, f"grep Seccomp: /proc/self/status > {mark}"]
            assert words(place.run([], *attack)) == {"executed": "-"} and mark.exists()
            mark.unlink()
            held = place.run(place.standalone(profile=DEFAULT_POLICY), *attack)
            assert words(held) == {"refused": "13"} and not mark.exists(), held
        finally:
            server.communicate(timeout=PATIENCE)
