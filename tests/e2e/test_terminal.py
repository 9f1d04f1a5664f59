# SPDX-License-Identifier: Apache-2.0
"""wrap at a terminal: an interactive shell has its job control, and wrap itself is a job like any other."""

import pexpect
import pytest

from lib.system import wrap


@pytest.fixture
def terminal(machine):
    sessions = []

    def spawn(*words, user="alice"):
        argv = machine.user_argv(user, words, env={"TERM": "dumb", "PS1": "ready> "}, pty=True)
        child = pexpect.spawn(argv[0], argv[1:], timeout=30, encoding="utf-8", dimensions=(33, 101), echo=False)
        sessions.append(child)
        return child

    yield spawn
    for child in sessions:
        child.close(force=True)


BASH = ("bash", "--norc", "--noprofile", "--noediting", "-i")


def test_job_control_inside(terminal):
    child = terminal(*wrap(*BASH))
    child.expect_exact("ready> ")
    assert "no job control" not in child.before
    child.sendline("sleep 1000")
    child.expect_exact("sleep 1000")
    child.send("\x1a")
    child.expect_exact("Stopped")
    child.expect_exact("ready> ")
    child.sendline("bg; jobs")
    child.expect("Running +sleep 1000")
    child.expect_exact("ready> ")
    child.sendline("fg")
    child.expect_exact("sleep 1000")
    child.send("\x03")
    child.expect_exact("ready> ")
    child.sendline("echo status $?")
    child.expect_exact("status 130")
    child.sendline("sleep 0.01 | cat; echo pipe ${PIPESTATUS[*]}")
    child.expect_exact("pipe 0 0")
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3


def test_wrap_is_a_job(terminal):
    child = terminal(*BASH)
    child.expect_exact("ready> ")
    child.sendline("wrap -- sh -c 'echo begun; read -r line; echo got $line'")
    child.expect_exact("begun\r\n")
    child.send("\x1a")
    child.expect_exact("Stopped")
    child.expect_exact("ready> ")
    child.sendline("fg")
    child.expect_exact("wrap -- sh")
    child.sendline("something")
    child.expect_exact("got something")
    child.expect_exact("ready> ")
    child.sendline("wrap -- sleep 1000; echo status $?")
    child.expect_exact("sleep 1000")
    child.send("\x03")
    child.expect_exact("ready> ")
    child.sendline("echo alive")
    child.expect_exact("alive\r\n")
    child.sendline("exit")
    child.expect(pexpect.EOF)


def test_terminal_and_its_size_are_the_callers(terminal):
    child = terminal(*wrap("sh", "-c", "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all"))
    child.expect("/dev/pts/[0-9]+")
    child.expect_exact("all")
    child.expect(pexpect.EOF)


def test_command_cannot_type_into_the_terminal(terminal):
    """TIOCSTI would put words into the mouth of the user's shell."""
    child = terminal(*wrap("python3", "-c", "import fcntl, termios\n"
                           "try:\n    fcntl.ioctl(0, termios.TIOCSTI, b'x')\n    print('typed')\n"
                           "except OSError as e:\n    print('refused', e.errno)"))
    child.expect_exact("refused 1\r\n")
    child.expect(pexpect.EOF)
