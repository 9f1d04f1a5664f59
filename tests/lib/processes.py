# SPDX-License-Identifier: Apache-2.0
"""Processes of another user's, processes whose numbers the test chooses, and the clock of their start times."""

import ctypes
import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

SYS_CLONE3 = 435
SO_PEERPIDFD, SO_PASSRIGHTS = 77, 83
PATIENCE = 20.0


def without_option(number):
    """The words before a command that runs as on a kernel without this socket option."""
    return [sys.executable, str(Path(__file__).with_name("without_option.py")), str(number)]


def fork_as(number):
    """fork(2), and the child gets the process number `number`, if that is not None."""
    if number is None:
        return os.fork()
    numbers = (ctypes.c_int * 1)(number)
    # struct clone_args: exit_signal, set_tid and set_tid_size are its fifth, ninth and tenth member.
    args = (ctypes.c_uint64 * 10)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(numbers), 1)
    pid = ctypes.CDLL(None, use_errno=True).syscall(SYS_CLONE3, ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args)))
    if pid < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        pytest.skip("needs CAP_CHECKPOINT_RESTORE and clone3(2): to choose process numbers")
    assert pid >= 0, os.strerror(ctypes.get_errno())
    return pid


def next_tick():
    """Returns in the next instant that start times can tell from this one."""
    def ticks():
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 10**9
    now = ticks()
    while ticks() == now:
        pass


def in_child(uid, body):
    """What body() returns when a process of this uid calls it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, json.dumps(body()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as text:
        result = json.load(text)
    os.waitpid(pid, 0)
    return result


def status_of(pid):
    """The fields of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def stop(pid):
    """Stops a process, and returns when it has stopped."""
    """Once it does nothing any more."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not status_of(pid)["State"].startswith("T"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
