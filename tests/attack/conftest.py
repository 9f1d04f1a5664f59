# SPDX-License-Identifier: Apache-2.0
import pytest

from lib.daemon import make_service, pytest_collection_modifyitems  # noqa: F401
from lib.users import users  # noqa: F401: a fixture


@pytest.fixture
def service(make_service):
    """Not started yet."""
    return make_service()
