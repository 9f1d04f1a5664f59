# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import pathlib

import pytest

from lib import system

LOGS = pathlib.Path(os.environ["WRAPD_E2E_LOGS"])


@contextlib.contextmanager
def booted(name):
    with system.machine_from_environment(log=LOGS / f"{name}-console.log") as machine:
        try:
            system.set_up(machine)
            system.start_servers(machine)
            yield machine
        finally:
            (LOGS / f"{name}-journal.log").write_text(
                machine.root("journalctl", "--no-pager", "--output=short-precise", check=False).stdout,
                errors="surrogateescape")


@pytest.fixture
def cold():
    """A system of the test's own, as an administrator leaves it: the socket listens, nobody has asked for anything."""
    with booted("cold") as machine:
        yield machine


@pytest.fixture(scope="session")
def shared_machine():
    with booted("shared") as machine:
        yield machine


@pytest.fixture
def machine(shared_machine):
    """The system that all tests share. What a test changes in /etc/wrapd and in the states of units is put back."""
    yield shared_machine
    for command in (["systemctl", "start", "systemd-journald.socket", "systemd-journald.service"],
                    ["systemctl", "reset-failed"], ["systemctl", "start", "wrapd.socket"]):
        shared_machine.root(*command)
    if system.configure(shared_machine):
        shared_machine.root("systemctl", "restart", "wrapd.service")


@pytest.fixture
def used_up(machine):
    """For tests that write so many of a user's records that the user's allowance, which refills in hours, is used up: the
    tests after them have records to look for."""
    yield
    machine.root("systemctl", "stop", "wrapd.socket", "wrapd.service")
    machine.root("rm", "-f", "/run/wrapd/records")
    machine.root("systemctl", "start", "wrapd.socket", "wrapd.service")
