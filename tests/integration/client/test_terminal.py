# SPDX-License-Identifier: Apache-2.0
"""Under a terminal `wrap CMD` is to behave as CMD does: interrupts, job control, exit statuses, signals that are sent to
it, descriptors. Everything runs with `wrap --standalone`, so with a real supervisor."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lib.sessions import COMPILE, WRAP

pexpect = pytest.importorskip("pexpect")

PROFILE = str(Path(__file__).with_name("profile.yaml"))
PREFIX = [WRAP, "--compile", COMPILE, "--standalone", "--profile", PROFILE]
SHELL_PREFIX = " ".join(PREFIX)
TIMEOUT = 20
SYS_CONNECT = {"x86_64": 42}.get(os.uname().machine, 203)  # asm-generic/unistd.h

# A run in the background, or under nohup, inherits these ignored, and what is inherited ignored stays so, also wrapped.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)


def wait_until(so):
    deadline = time.monotonic() + TIMEOUT
    while not so():
        if time.monotonic() > deadline:
            raise AssertionError("it never came to be so")
        time.sleep(0.005)


def is_connecting(process):
    with open(f"/proc/{process}/syscall") as file:
        return file.read().split()[0] == str(SYS_CONNECT)


def state_of(process):
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


class Cleaned:
    @pytest.fixture(autouse=True)
    def clean(self):
        with contextlib.ExitStack() as self.at_end:
            yield


class TestTerminal(Cleaned):
    """An interactive shell on a pseudo-terminal, with wrap as a job of it."""

    @pytest.fixture(autouse=True)
    def start_shell(self, clean):
        self.shell = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], timeout=TIMEOUT, encoding="utf-8", echo=False,
                                   env={**os.environ, "PS1": "READY> ", "PS2": "", "TERM": "dumb"})
        self.at_end.callback(self.shell.close, True)
        self.prompt()
        self.run_line(f"W='{SHELL_PREFIX}'")
        self.run_line("bind 'set enable-bracketed-paste off' 2>/dev/null")

    def prompt(self):
        self.shell.expect_exact("READY> ")
        return self.shell.before

    def run_line(self, line):
        self.shell.sendline(line)
        return self.prompt()

    def status(self):
        return self.run_line("echo status=$?").split("status=")[1].split()[0]

    def test_interrupt_ends_the_command(self):
        self.shell.sendline("$W sh -c 'echo started; exec sleep 1000'")
        self.shell.expect_exact("started")
        self.shell.sendintr()
        self.prompt()
        assert self.status() == "130"

    def test_the_command_decides_about_interrupts(self):
        self.shell.sendline("$W sh -c 'trap \"echo caught; exit 5\" INT; echo started; while :; do sleep 1; done'")
        self.shell.expect_exact("started")
        self.shell.sendintr()
        self.shell.expect_exact("caught")
        self.prompt()
        assert self.status() == "5"

    def test_quit_ends_the_command(self):
        self.shell.sendline("ulimit -c 0; $W sh -c 'echo started; exec sleep 1000'")
        self.shell.expect_exact("started")
        self.shell.send("\x1c")
        self.prompt()
        assert self.status() == "131"

    def test_stop_and_foreground(self):
        self.shell.sendline("$W sh -c 'echo started; read line; echo got $line; exit 9'")
        self.shell.expect_exact("started")
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.prompt()
        self.shell.sendline("fg")
        self.shell.expect_exact("exit 9")  # the shell names the job
        self.shell.sendline("again")
        self.shell.expect_exact("got again")
        self.prompt()
        assert self.status() == "9"

    def test_a_wait_for_a_server_stops_and_goes_on(self):
        connect = ("import os, socket, sys; client = socket.socket(socket.AF_UNIX); print('pid', os.getpid(), flush=True); "
                   "client.connect(sys.argv[1]); print('con''nected', client.recv(2).decode())")
        for prefix in ("", "$W"):
            with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as server:
                path = os.path.join(directory, "full")
                server.bind(path)
                server.listen(0)
                with socket.socket(socket.AF_UNIX) as first:
                    first.connect(path)
                    self.shell.sendline(f'{prefix} /usr/bin/python3 -c "{connect}" {path}')
                    self.shell.expect("pid ([0-9]+)")
                    process = self.shell.match.group(1)
                    wait_until(lambda: is_connecting(process))
                    for _ in range(3):
                        self.shell.send("\x1a")
                        self.shell.expect("Stopped")
                        self.prompt()
                        wait_until(lambda: state_of(process) == "T")
                        self.shell.sendline("fg")
                        wait_until(lambda: state_of(process) != "T" and is_connecting(process))
                    server.settimeout(TIMEOUT)
                    server.accept()[0].close()
                    with server.accept()[0] as client:
                        client.sendall(b"ok")
                        self.shell.expect_exact("connected ok")
                    self.prompt()
                    assert self.status() == "0"

    def test_stop_many_times(self):
        self.shell.sendline("$W sh -c 'echo started; while read line; do echo got $line; done; exit 4'")
        self.shell.expect_exact("started")
        for i in range(5):
            self.shell.send("\x1a")
            self.shell.expect("Stopped")
            self.prompt()
            self.shell.sendline("fg")
            self.shell.sendline(f"line{i}")
            self.shell.expect_exact(f"got line{i}")
        self.shell.sendeof()
        self.prompt()
        assert self.status() == "4"

    def test_stopped_then_continued_in_the_background(self):
        with tempfile.TemporaryDirectory() as directory:
            fifo = os.path.join(directory, "fifo")
            os.mkfifo(fifo)
            self.shell.sendline(f"$W sh -c 'echo started; read line <{fifo}; echo finished $line'")
            self.shell.expect_exact("started")
            self.shell.send("\x1a")
            self.shell.expect("Stopped")
            self.prompt()
            self.shell.sendline("bg")
            self.prompt()
            with open(fifo, "w") as file:
                file.write("well\n")
            self.shell.expect_exact("finished well")
            self.run_line("wait")

    def test_background_job(self):
        self.shell.sendline("$W sh -c 'exit 6' & wait $!; echo status=$?")
        self.shell.expect("status=([0-9]+)")
        assert self.shell.match.group(1) == "6"
        self.prompt()

    def test_background_read_stops_the_job(self):
        self.run_line("set -b")  # the shell tells at once
        self.shell.sendline("$W sh -c 'read line; echo got $line' &")
        self.shell.expect("Stopped")
        self.shell.sendline("fg")
        self.shell.sendline("input")
        self.shell.expect_exact("got input")
        self.prompt()

    def test_kill_a_job(self):
        self.shell.sendline("$W sh -c 'echo started; exec sleep 1000' &")
        self.shell.expect_exact("started")
        self.run_line("")
        self.shell.sendline("kill %1; wait %1; echo status=$?")
        self.shell.expect("status=([0-9]+)")
        assert self.shell.match.group(1) == "143"

    def test_a_shell_with_job_control_inside(self):
        self.shell.sendline("PS1='INNER> ' $W bash --norc --noprofile -i")
        self.shell.expect_exact("INNER> ")
        assert "no job control" not in self.shell.before
        self.shell.sendline("sh -c 'echo started; exec sleep 1000'")
        self.shell.expect_exact("started")
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.shell.expect_exact("INNER> ")
        self.shell.sendline("kill %1; fg; wait; echo inner=$?")
        self.shell.expect("inner=[0-9]+")
        self.shell.expect_exact("INNER> ")
        self.shell.sendline("sh -c 'echo run''ning; exec sleep 1000'")
        self.shell.expect_exact("running")
        self.shell.sendintr()
        self.shell.expect_exact("INNER> ")
        self.shell.sendline("exit 3")
        self.prompt()
        assert self.status() == "3"


class TestLeader(Cleaned):
    """wrap as the terminal's session leader."""

    def test_an_interrupt_arrives_once(self):
        script = ("import os, signal\nseen = []\n"
                  "signal.signal(signal.SIGINT, lambda *a: (seen.append(1), print('caught', flush=True)))\n"
                  "signal.signal(signal.SIGTERM, lambda *a: (print('count', len(seen), flush=True), os._exit(0)))\n"
                  "print('started', flush=True)\n"
                  "while True: signal.pause()\n")
        child = pexpect.spawn(PREFIX[0], [*PREFIX[1:], "/usr/bin/python3", "-c", script], timeout=TIMEOUT, encoding="utf-8")
        self.at_end.callback(child.close, True)
        child.expect_exact("started")
        child.sendintr()
        child.expect_exact("caught")
        # Passed on after whatever wrap would have made of the interrupt: signalfd(2) gives the lower number first.
        os.kill(child.pid, signal.SIGTERM)
        child.expect("count ([0-9]+)")
        assert child.match.group(1) == "1"
        child.expect(pexpect.EOF)


class TestProcess(Cleaned):
    """Without a terminal: statuses, signals that a program sends, descriptors."""

    def run_wrap(self, *command, options=(), **kwargs):
        return subprocess.run([*PREFIX, *options, "--", *command], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, **kwargs)

    def start(self, script, options=(), **kwargs):
        process = subprocess.Popen([*PREFIX, *options, "--", "sh", "-c", script], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **kwargs)
        self.at_end.callback(process.stdout.close)
        self.at_end.callback(process.stderr.close)
        assert process.stdout.readline() == "started\n"
        return process

    def test_statuses(self):
        for script, status in (("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137),
                               ("kill -HUP $$", 129)):
            assert self.run_wrap("sh", "-c", script).returncode == status, script

    def test_what_cannot_be_executed(self):
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write("#!/bin/sh\n")
            script.flush()
            for command, status in (("/no/such/command", 127), ("no-such-command", 127), (script.name, 126), ("/etc", 126)):
                # A PATH with a directory that is closed to us would turn "not found" into "permission denied".
                done = self.run_wrap(command, env={**os.environ, "PATH": "/usr/bin:/bin"})
                assert done.returncode == status, done
                assert done.stderr.count("\n") == 1, done.stderr

    def test_signals_are_passed_on(self):
        for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "ALRM"):
            process = self.start(f"trap 'echo got; exit 7' {name}; echo started; while :; do sleep 0.05; done",
                                 start_new_session=True)
            process.send_signal(getattr(signal, "SIG" + name))
            assert process.wait(TIMEOUT) == 7
            assert process.stdout.read() == "got\n"

    def test_killing_wrap_kills_the_command(self):
        process = self.start("echo started; exec sleep 1000")
        process.kill()
        assert process.wait(TIMEOUT) == -signal.SIGKILL
        # The command and the supervisor held stdout open.
        assert process.stdout.read() == ""

    def test_ignored_signals_stay_ignored(self):
        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        show = ("grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status")
        native = subprocess.run(show, capture_output=True, text=True, preexec_fn=ignore).stdout
        assert "SigIgn" in native
        assert self.run_wrap(*show, preexec_fn=ignore).stdout == native

    def test_descriptors(self):
        read, write = os.pipe()
        os.set_inheritable(write, True)
        show = ("sh", "-c", f"test -e /proc/self/fd/{write} && echo open || echo closed")
        without = self.run_wrap(*show, close_fds=False)
        with_it = self.run_wrap(*show, options=("--keep-fd", str(write)), close_fds=False)
        os.close(read)
        os.close(write)
        assert (without.stdout, with_it.stdout) == ("closed\n", "open\n")

    def test_a_descriptor_that_is_not_open(self):
        done = self.run_wrap("true", options=("--keep-fd", "777"))
        assert done.returncode == 125
        assert "descriptor 777 is not open" in done.stderr

    def test_closed_standard_descriptors(self):
        done = subprocess.run(f"{SHELL_PREFIX} sh -c 'ls /proc/$$/fd' <&- 2>&-", shell=True, stdout=subprocess.PIPE, text=True,
                              timeout=60)
        assert done.returncode == 0
        assert "0" not in done.stdout.split()
        assert "2" not in done.stdout.split()

    def test_output_ends_with_the_command(self):
        started = time.monotonic()
        assert self.run_wrap("echo", "x").stdout == "x\n"
        assert time.monotonic() - started < 4, "somebody keeps the pipe open after the command's end"

    def test_what_is_left_behind_lives_on(self):
        with tempfile.TemporaryDirectory() as directory:
            there, back = os.path.join(directory, "there"), os.path.join(directory, "back")
            os.mkfifo(there)
            os.mkfifo(back)
            done = self.run_wrap("sh", "-c", f"(read x <{there}; echo $x >{back}) </dev/null >/dev/null 2>&1 &")
            assert done.returncode == 0
            with open(there, "w") as file:
                file.write("alive\n")
            with open(back) as file:
                assert file.read() == "alive\n"

    def test_status_descriptor(self):
        read, write = os.pipe()
        done = self.run_wrap("sh", "-c", "echo $$; exit 3", options=("--status-fd", str(write)), pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as file:
            lines = [json.loads(line) for line in file]
        assert [line["event"] for line in lines] == ["started", "exited"]
        assert lines[0]["pid"] == int(done.stdout)
        assert lines[1]["status"] == 3

    def test_stdin_reaches_the_command(self):
        done = subprocess.run([*PREFIX, "cat"], input="through\n", capture_output=True, text=True, timeout=60)
        assert done.stdout == "through\n"

    def test_a_wrap_in_a_wrap_says_why_not(self):
        # The leak checker of an instrumented build looks for leaks with calls that a wrapped program may not make.
        done = self.run_wrap("env", "ASAN_OPTIONS=detect_leaks=0", *PREFIX, "true")
        assert done.returncode == 125
        assert done.stderr.count("wrap: cannot") == 1, done.stderr

    def test_explain_runs_nothing(self):
        done = self.run_wrap("sh", "-c", "echo ran", options=("--explain",))
        assert done.returncode == 0, done
        assert "ran" not in done.stdout
        assert "policy:" in done.stdout
