# SPDX-License-Identifier: Apache-2.0
import pytest

from lib import wrapctl as world


@pytest.fixture(scope="session")
def bus(tmp_path_factory):
    bus = world.Bus(tmp_path_factory.mktemp("bus"))
    yield bus
    bus.stop()


@pytest.fixture
def wrapctl(bus):
    return world.Wrapctl(bus)


@pytest.fixture
def serve(bus):
    """Starts the service's side with this state; one at a time."""
    running = []

    def start(**state):
        running.append(world.ServiceSide(bus, **state))
        return running[-1]

    yield start
    for side in running:
        side.stop()
