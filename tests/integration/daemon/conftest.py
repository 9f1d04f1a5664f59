# SPDX-License-Identifier: Apache-2.0
import pytest

from lib.daemon import PROBE, make_service as make_any_service, pytest_collection_modifyitems  # noqa: F401
from lib.users import users  # noqa: F401: a fixture


@pytest.fixture
def make_service(make_any_service):
    """Makes a service that is not started yet, with a stand-in for the supervisor."""
    return lambda supervisor=PROBE, prefix=(): make_any_service(supervisor, prefix)


@pytest.fixture
def service(make_service):
    return make_service().start()
