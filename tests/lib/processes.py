# SPDX-License-Identifier: Apache-2.0
"""Processes whose numbers the test chooses, and the clock of their start times."""

import ctypes
import errno
import os
import signal
import time

import pytest

SYS_CLONE3 = 435


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
