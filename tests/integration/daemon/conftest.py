# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from lib.daemon import make_service as make_any_service, pytest_collection_modifyitems  # noqa: F401
from lib.users import users  # noqa: F401: a fixture

PROBE = Path(__file__).with_name("probe_supervisor.py")


@pytest.fixture
def make_service(make_any_service):
    """Makes a service that is not started yet, with a stand-in for the supervisor."""
    return lambda supervisor=PROBE, prefix=(): make_any_service(supervisor, prefix)


@pytest.fixture
def service(make_service):
    return make_service().start()
