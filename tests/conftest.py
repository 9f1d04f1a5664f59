# SPDX-License-Identifier: Apache-2.0
"""pytest keeps the directories of its last runs in /tmp; ours go with the run."""

import shutil
import tempfile

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if not config.option.basetemp:
        config.own_temporary = tempfile.mkdtemp(prefix="wrapd-pytest-")
        config.option.basetemp = config.own_temporary + "/run"


def pytest_unconfigure(config):
    if hasattr(config, "own_temporary"):
        shutil.rmtree(config.own_temporary)
