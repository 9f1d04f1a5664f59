# SPDX-License-Identifier: Apache-2.0
"""The service of tests/integration/daemon, with users of these tests' own."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[1] / "integration" / "daemon" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("daemon_harness", _PATH)
harness = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(harness)

sys.path.insert(0, str(_PATH.parents[2] / "lib"))

make_service, pytest_collection_modifyitems = harness.make_service, harness.pytest_collection_modifyitems
Peer, PATIENCE, request = harness.Peer, harness.PATIENCE, harness.request
ALICE, MALLORY = 64101, 64102
SUPERVISOR = os.environ.get("WRAPD_TEST_SUPERVISOR", "")
USERS = {"wrapd-attack-a": ALICE, "wrapd-attack-m": MALLORY}


@pytest.fixture(scope="session")
def users():
    with contextlib.ExitStack() as made:
        for name, how in [*((name, ["--uid", str(uid)]) for name, uid in USERS.items()), ("wrapd", ["--system"])]:
            harness.make_user(made, name, how)
        yield


@pytest.fixture
def service(make_service):
    """Not started yet."""
    return make_service(supervisor=SUPERVISOR)
