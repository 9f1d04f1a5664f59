# SPDX-License-Identifier: Apache-2.0
"""Runs `wrap` against a service that goes wrong at every step of docs/protocol.md. Each time wrap must say so in one
line, exit with 125, and never have started the command. Whoever plays the service here exists to break the protocol; what
works is tested against the real one."""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading

import pytest

from lib.sessions import WRAP

ACCEPTED = b"\x06"
ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
F_ADD_SEALS, ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8
TOKEN = "ab" * 32
SUMMARY = json.dumps({"version": 1, "message": "summary", "allowed": 0, "denied": 0, "audited": 0, "lost": 0, "more": 0,
                      "denials": []}).encode()


def filter_memfd(content=ALLOW_ALL, seals=ALL_SEALS):
    fd = os.memfd_create("filter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def seqpacket_server(path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen(8)
    server.settimeout(20)
    return server


class Broker:
    """A service that does as the protocol says, but for what a test overrides."""

    def __init__(self, directory):
        self.directory = directory
        self.control_path = os.path.join(directory, "control")
        self.server = seqpacket_server(self.control_path)
        self.sockets = {kind: seqpacket_server(os.path.join(directory, kind + ".sock")) for kind in ("notify", "signal")}
        self.listener = None
        self.leader = None
        self.control = None
        self.request = None
        self.error = None

    @staticmethod
    def confinement(filtered=True):
        return {"filtered": filtered, "traps": [], "scopes": ["signal"], "on_unsupported": "monitor"}

    def reply(self, **changes):
        message = {
            "version": 1, "reply": "session", "id": "0" * 32, "directory": self.directory,
            "tokens": {"notify": TOKEN, "signal": TOKEN, "ptrace": TOKEN}, "policy": "test", "mode": "enforce",
            "confinement": self.confinement(), "notices": [],
        }
        message.update(changes)
        return json.dumps(message).encode()

    def accept_control(self):
        self.control, _ = self.server.accept()
        self.control.settimeout(20)
        self.request, fds, _, _ = socket.recv_fds(self.control, 65536, 4)
        for fd in fds:
            os.close(fd)

    def send_reply(self):
        fd = filter_memfd()
        socket.send_fds(self.control, [self.reply()], [fd])
        os.close(fd)

    def take(self, kind):
        connection, _ = self.sockets[kind].accept()
        connection.settimeout(20)
        frame, fds, _, _ = socket.recv_fds(connection, 256, 4)
        assert len(frame) == 72 and frame[:4] == b"WRPH" and frame[8:] == TOKEN.encode(), frame
        assert len(fds) == 1, fds
        return connection, fds[0]

    def take_both(self):
        self.let_go()
        signal_connection, self.leader = self.take("signal")
        notify_connection, self.listener = self.take("notify")
        return signal_connection, notify_connection

    def let_go(self):
        for fd in (self.listener, self.leader):
            if fd is not None:
                os.close(fd)
        self.listener = self.leader = None

    def close(self):
        self.let_go()
        for s in [self.control, self.server, *self.sockets.values()]:
            if s is not None:
                s.close()
        self.control = None


class TestBrokenBroker:
    @pytest.fixture(autouse=True)
    def play_the_service(self):
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as self.at_end:
            self.directory = directory
            self.marker = os.path.join(directory, "ran")
            self.broker = Broker(directory)
            self.at_end.callback(self.broker.close)
            yield

    def wrap(self, play, options=(), command=None):
        """Runs wrap while play(broker) plays the service."""
        failure = []

        def run():
            try:
                play(self.broker)
            except BaseException as error:  # shown by the test below
                failure.append(error)

        player = threading.Thread(target=run, daemon=True)
        player.start()
        done = subprocess.run(
            [WRAP, "--control", self.broker.control_path, *options, "--", *(command or ["touch", self.marker])],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        player.join(30)
        assert not player.is_alive()
        assert failure == []
        return done

    def expect_refusal(self, play, *words, options=()):
        done = self.wrap(play, options)
        assert done.returncode == 125, done
        assert not os.path.exists(self.marker), "the command ran"
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("wrap: "), done.stderr
        for word in words:
            assert word in done.stderr
        assert done.stdout == ""

    # What the tests below rest on: unbroken, this service does start the command.
    def test_unbroken(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            for connection in b.take_both():
                connection.send(ACCEPTED)
            assert json.loads(b.control.recv(4096)) == {"version": 1, "request": "finish"}
            b.control.send(SUMMARY)

        done = self.wrap(play)
        assert (done.returncode, done.stderr) == (0, "")
        assert os.path.exists(self.marker)
        request = json.loads(self.broker.request)
        assert request["command"] == "touch " + self.marker
        assert request["cwd"] == os.getcwd()

    def test_no_service(self):
        self.broker.close()
        os.unlink(self.broker.control_path)
        self.expect_refusal(lambda b: None, "systemctl start wrapd.socket", "--standalone")

    def test_nobody_listens(self):
        self.broker.close()
        self.expect_refusal(lambda b: None, "systemctl start wrapd.socket")

    # wrap takes these for a service that is restarted, and asks again, a few times.
    ATTEMPTS = 8

    def test_closes_without_reading(self):
        def play(b):
            for _ in range(self.ATTEMPTS):
                b.server.accept()[0].close()

        self.expect_refusal(play, "without an answer")

    def test_closes_after_the_request(self):
        def play(b):
            for _ in range(self.ATTEMPTS):
                b.accept_control()
                b.control.close()

        self.expect_refusal(play, "without an answer")

    def test_is_asked_anew_after_a_restart(self):
        for unread in (True, False):
            def play(b):
                if unread:
                    b.server.accept()[0].close()
                else:
                    b.accept_control()
                    b.control.close()
                b.accept_control()
                b.control.send(b'{"version":1,"reply":"error","code":"limit","message":"heard"}')

            self.expect_refusal(play, "heard")

    def test_an_answer_ends_the_asking(self):
        """Also one that comes before the request was read: a reset follows it."""
        def play(b):
            connection, _ = b.server.accept()
            connection.send(b'{"version":1,"reply":"error","code":"limit","message":"first answer"}')
            while not select.select([connection], [], [], 20)[0]:
                pass
            connection.close()

        self.expect_refusal(play, "first answer")
        self.broker.server.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.broker.server.accept()

    def test_refuses(self):
        def play(b):
            b.accept_control()
            b.control.send(b'{"version":1,"reply":"error","code":"limit","message":"too many\\n\\u001b[31msessions"}')

        self.expect_refusal(play, "too many\\x0a\\x1b[31msessions")

    def test_garbage_replies(self):
        whole = self.broker.reply()
        for garbage in (b"\0", b"{}", b"x" * 1000, whole[:-1], whole + b" {}", whole.replace(b'"version": 1', b'"version": 2'),
                        whole.replace(b"true", b"1"), b"[" * 60000, b"\xff" * 60000, b"y" * 100000):
            def play(b):
                b.accept_control()
                b.control.send(garbage)

            self.expect_refusal(play)

    def reply_with(self, fds, message=None):
        def play(b):
            b.accept_control()
            socket.send_fds(b.control, [message or b.reply()], fds)
            # What follows, if anything, must fail as well.
            b.control.close()

        try:
            self.expect_refusal(play)
        finally:
            for fd in fds:
                os.close(fd)

    def test_no_filter(self):
        self.reply_with([])

    def test_two_filters(self):
        self.reply_with([filter_memfd(), filter_memfd()])

    def test_unsealed_filter(self):
        self.reply_with([filter_memfd(seals=0)])

    def test_half_sealed_filter(self):
        self.reply_with([filter_memfd(seals=0x2 | 0x4)])

    def test_empty_filter(self):
        self.reply_with([filter_memfd(b"")])

    def test_cut_filter(self):
        self.reply_with([filter_memfd(ALLOW_ALL + b"x")])

    def test_too_long_filter(self):
        self.reply_with([filter_memfd(ALLOW_ALL * 4097)])

    def test_filter_that_is_no_memfd(self):
        self.reply_with([os.open("/dev/zero", os.O_RDONLY)])

    def test_filter_that_the_kernel_refuses(self):
        self.reply_with([filter_memfd(struct.pack("HBBI", 0x20, 0, 0, 0))])

    def test_filter_though_unfiltered(self):
        self.reply_with([filter_memfd()], self.broker.reply(confinement=self.broker.confinement(filtered=False)))

    def test_no_session_sockets(self):
        self.reply_with([filter_memfd()], self.broker.reply(directory="/nonexistent"))

    def test_session_directory_too_long(self):
        self.reply_with([filter_memfd()], self.broker.reply(directory="/" + "d" * 200))

    def test_control_closes_before_the_hand_off(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            b.control.close()
            b.take_both()

        self.expect_refusal(play, "supervisor")

    def test_wrong_answers(self):
        for kind in ("signal", "notify"):
            for byte in (b"\x00", b"F", b"T", b"D", b"U", b"R", b"\x07", b"\x86", b"\x06\x06"):
                def play(b):
                    b.accept_control()
                    b.send_reply()
                    connections = dict(zip(("signal", "notify"), b.take_both()))
                    connections.pop("notify" if kind == "signal" else "signal").send(ACCEPTED)
                    connections.pop(kind).send(byte)

                self.expect_refusal(play)

    def test_half_answers(self):
        for answered in ("signal", "notify", "none"):
            def play(b):
                b.accept_control()
                b.send_reply()
                signal_connection, notify_connection = b.take_both()
                if answered == "signal":
                    signal_connection.send(ACCEPTED)
                if answered == "notify":
                    notify_connection.send(ACCEPTED)
                signal_connection.close()
                notify_connection.close()

            self.expect_refusal(play)

    def test_closes_during_the_hand_off(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            connection, leader = b.take("signal")
            os.close(leader)
            b.control.close()
            connection.close()

        self.expect_refusal(play)

    def test_kills_the_command_before_it_starts(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            connections = b.take_both()
            ctypes.CDLL(None).syscall(424, b.leader, signal.SIGKILL, 0, 0)  # pidfd_send_signal
            assert connections[0].recv(1) == b"", "wrap must give up"

        self.expect_refusal(play, "ended before it could start")

    def test_never_acknowledges(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            connections = b.take_both()
            assert connections[0].recv(1) == b"", "wrap must give up"

        self.expect_refusal(play, "in time")

    # The command runs, and its supervisor is well.
    WAITING = {"version": 1, "message": "waiting", "operation": "connect", "target": "/run/a\\x0ab", "abstract": False}

    def test_tells_what_waits(self):
        line = "wrap: connect /run/a\\x0ab waits for an answer (wrapctl approvals)\n"
        for options, told in (((), line), (("--quiet",), "")):
            go = os.path.join(self.directory, "go")
            os.mkfifo(go)

            def play(b):
                b.accept_control()
                b.send_reply()
                for connection in b.take_both():
                    connection.send(ACCEPTED)
                b.control.send(json.dumps(self.WAITING).encode())
                # What wrap has taken it has told, before it sees that the command ended.
                while fcntl.ioctl(b.control, termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4:
                    os.sched_yield()
                with open(go, "w"):
                    pass
                assert json.loads(b.control.recv(4096))["request"] == "finish"
                b.control.send(SUMMARY)

            done = self.wrap(play, options, ["cat", go])
            assert (done.returncode, done.stderr) == (0, told)
            os.unlink(go)

    # A supervisor whose tree is gone says so and goes; the last process of that tree may take its time to be gone, too.
    def test_a_supervisor_that_has_said_all_may_go_first(self):
        go, end = (os.path.join(self.directory, name) for name in ("go", "end"))
        os.mkfifo(go)
        os.mkfifo(end)

        def play(b):
            b.accept_control()
            b.send_reply()
            for connection in b.take_both():
                connection.send(ACCEPTED)
            with open(go, "w"):
                b.control.send(SUMMARY)
                while fcntl.ioctl(b.control, termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4:
                    os.sched_yield()
                b.control.close()
            with open(end, "w"):
                pass

        done = self.wrap(play, (), ["sh", "-c", f"cat {go} {end}; exit 3"])
        assert (done.returncode, done.stderr) == (3, "")

    # The kernel then tells of a reset before it gives out what was sent.
    def test_a_summary_counts_though_the_request_for_it_was_not_read(self):
        def play(b):
            b.accept_control()
            b.send_reply()
            for connection in b.take_both():
                connection.send(ACCEPTED)
            assert select.select([b.control], [], [], 20)[0] == [b.control]
            pid = struct.unpack("3i", b.control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            os.kill(pid, signal.SIGSTOP)  # so that it sees both at once
            while not is_stopped(pid):
                os.sched_yield()
            b.control.send(SUMMARY)
            b.control.close()
            os.kill(pid, signal.SIGCONT)

        done = self.wrap(play, (), ["true"])
        assert (done.returncode, done.stderr) == (0, "")

    def test_waits_for_nobody_who_reads_what_it_tells(self):
        # stderr is a pipe that is full: signals are passed on all the same.
        full = os.pipe()
        os.set_blocking(full[1], False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(full[1], b"x" * 4096)
        os.set_blocking(full[1], True)
        wrap = subprocess.Popen([WRAP, "--control", self.broker.control_path, "sh", "-c", "echo started; exec sleep 1000"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=full[1])
        self.at_end.callback(wrap.kill)
        b = self.broker
        b.accept_control()
        b.send_reply()
        for connection in b.take_both():
            connection.send(ACCEPTED)
        assert wrap.stdout.readline() == b"started\n"
        b.control.send(json.dumps(self.WAITING).encode())
        wrap.terminate()
        assert json.loads(b.control.recv(4096))["request"] == "finish"
        b.control.send(SUMMARY)
        assert wrap.wait(20) == 143
        wrap.stdout.close()
        for fd in full:
            os.close(fd)

    # From here on the command runs, and its supervisor dies.
    def lose_supervisor(self, farewell):
        go, went = os.pipe(), os.pipe()
        for fd in (go[1], went[1]):
            os.set_inheritable(fd, True)
        # A daemon in a session of its own, deaf to all but SIGKILL, and the command itself.
        script = (f"trap '' TERM HUP INT; (setsid sh -c 'echo >/proc/self/fd/{go[1]}; while :; do sleep 1000; done' &); "
                  f"while :; do sleep 1000; done")

        def play(b):
            b.accept_control()
            b.send_reply()
            for connection in b.take_both():
                connection.send(ACCEPTED)
            assert os.read(go[0], 1) == b"\n"
            farewell(b)

        player = threading.Thread(target=lambda: play(self.broker), daemon=True)
        player.start()
        done = subprocess.run([WRAP, "--control", self.broker.control_path, "--keep-fd", str(go[1]), "--keep-fd",
                               str(went[1]), "sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, pass_fds=(go[1], went[1]))
        player.join(30)
        assert not player.is_alive()
        os.close(go[1])
        os.close(went[1])
        assert done.returncode == 125, done
        assert done.stderr.count("\n") == 1, done.stderr
        assert "killed with all that it had started" in done.stderr
        # All of them held this pipe open: its end is theirs. wrap does not return before.
        os.set_blocking(went[0], False)
        assert os.read(went[0], 1) == b""
        os.close(go[0])
        os.close(went[0])

    def test_supervisor_dies(self):
        self.lose_supervisor(lambda b: b.close())

    def test_supervisor_talks_nonsense(self):
        self.lose_supervisor(lambda b: b.control.send(b"nonsense"))
