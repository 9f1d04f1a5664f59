# SPDX-License-Identifier: Apache-2.0
import os
import shutil

import pytest

from lib.bus import SERVICE, SYSTEM_CONF, Machine


def pytest_collection_modifyitems(items):
    reason = None
    if os.geteuid() != 0:
        reason = "needs root: several real uids"
    elif not SERVICE:
        reason = "WRAPD_TEST_API_SERVICE names no program"
    elif not shutil.which("dbus-daemon") or not SYSTEM_CONF.exists():
        reason = "needs dbus-daemon and the system bus's configuration"
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def shared():
    machine = Machine()
    yield machine
    assert machine.stop() == ""


@pytest.fixture
def machine(shared):
    """A machine without sessions and questions, and clients that go with the test."""
    shared.service.order("reset")
    shared.polkit.mode = "no"
    shared.polkit.forget()
    kept = len(shared.clients)
    yield shared
    for client in shared.clients[kept:]:
        shared.dismiss(client)


@pytest.fixture
def own_machine():
    """Makes a machine of the test's own."""
    machines = []

    def make(**settings):
        machines.append(Machine(**settings))
        return machines[-1]

    yield make
    for machine in machines:
        machine.stop()
